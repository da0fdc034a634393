"""G2: the complete history of a room of single events into replica and frame, beside raw pagination."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import matrixdata as md
from benchmarks._raw import Raw, address_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2000, help="the goal is stated for 20000")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with md.LocalServer() as server:
        writer = server.connect("writer")
        room = writer.create_collection("bench", encrypted=False).room_id
        raw = [Raw(address_of(server.directory), "writer") for _ in range(8)]

        def send(number: int) -> None:
            value = {"ts": number, "device": f"d{number % 7}", "temp": f"{number / 10!r}", "ok": True}
            raw[number % 8].send(
                room,
                "io.matrixdata.record",
                {"v": 1, "uid": f"u{number}", "value": value, "numbers": ["/temp"]},
            )

        started = time.perf_counter()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda lane: [send(n) for n in range(lane, options.events, 8)], range(8)))
        print(f"wrote {options.events} events in {time.perf_counter() - started:.1f} s")
        ours, peer = [], []
        for run in range(options.runs):
            peer.append(timed(lambda: raw[0].history(room)))
            reader = server.connect(f"reader{run}")
            writer.collection("bench").invite(reader.user_id)
            collection = reader.collection(room)

            def read(collection: md.Collection = collection) -> None:
                collection.sync()
                frame = collection.query(timeout=0).to_pandas()
                assert len(frame) == options.events, len(frame)

            ours.append(timed(read))
            reader.close()
        us, them = statistics.median(ours), statistics.median(peer)
        print(
            f"history of {options.events} events into replica and frame: {us:.2f} s; raw pagination {them:.2f} s; "
            f"ratio {us / them:.2f} (goal 1.10)"
        )


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
