"""G9: 100 subscribers on one collection beside one: time for each record that is handed out."""

from __future__ import annotations

import argparse
import time

import anyio

import matrixdata as md


async def seconds(collection: md.AsyncCollection, subscribers: int, records: int) -> float:
    """From the first publish until every subscriber has everything, for each record handed out."""
    live = anyio.Semaphore(0)

    async def read() -> None:
        async with collection.subscribe() as subscription:
            live.release()
            for _ in range(records):
                await subscription.get()

    async with anyio.create_task_group() as tasks:
        for _ in range(subscribers):
            tasks.start_soon(read)
        for _ in range(subscribers):
            await live.acquire()
        started = time.perf_counter()
        await collection.publish_many([{"n": number} for number in range(records)], wait="queued")
    return (time.perf_counter() - started) / (subscribers * records)


async def compare(subscribers: int, records: int) -> None:
    """Print both figures and their ratio."""
    async with md.LocalServer() as server:
        client = await server.connect_async("ada")
        collection = await client.create_collection("bench", encrypted=False)
        await seconds(collection, 1, 10)  # warm
        one = await seconds(collection, 1, records)
        many = await seconds(collection, subscribers, records)
    print(
        f"1 subscriber: {one * 1e6:,.0f} µs a record; {subscribers}: {many * 1e6:,.0f} µs a record handed out"
    )
    print(f"ratio {many / one:.3f} (goal 1.2)")
    print(f"all together: {many * subscribers / one:.2f} times the time of one")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscribers", type=int, default=100)
    parser.add_argument("--records", type=int, default=200)
    chosen = parser.parse_args()
    anyio.run(compare, chosen.subscribers, chosen.records)


if __name__ == "__main__":
    main()
