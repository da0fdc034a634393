"""G2e: the history of an encrypted room into replica and frame, beside raw pagination; and what encryption costs."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import matrixdata as md
from benchmarks._raw import Raw, address_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2000, help="the goal is stated for 20000")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with md.LocalServer() as server:
        writer = server.connect("writer")
        readers = [server.connect(f"reader{run}") for run in range(options.runs)]
        rooms = {}
        for kind, how in (("clear", {"encrypted": False}), ("encrypted", {"trust": "all"})):
            made = writer.create_collection(kind, **how)
            for reader in readers:
                made.invite(reader.user_id)
                reader.collection(made.room_id, **({"trust": "all"} if kind == "encrypted" else {}))
            rooms[kind] = made
        raw = Raw(address_of(server.directory), "writer")
        rows = [
            {"ts": number, "device": f"d{number % 7}", "temp": number / 10, "ok": True}
            for number in range(options.events)
        ]
        for kind, made in rooms.items():
            taken = timed(lambda made=made: published(made, rows))
            print(
                f"{kind}: published {options.events} single events, {taken / options.events * 1e3:.2f} ms each"
            )
        for kind, made in rooms.items():
            peer = [timed(lambda made=made: raw.history(made.room_id)) for _ in range(options.runs)]
            synced, queried = [], []
            for reader in readers:
                collection = reader.collection(made.room_id)
                synced.append(timed(collection.sync))
                queried.append(timed(lambda collection=collection: framed(collection, options.events)))
            us = statistics.median(map(sum, zip(synced, queried, strict=True)))
            them = statistics.median(peer)
            print(
                f"{kind}: history of {options.events} events into replica {statistics.median(synced):.2f} s and frame "
                f"{statistics.median(queried):.2f} s; raw pagination {them:.2f} s; ratio {us / them:.2f}"
                + (" (goal 1.15)" if kind == "encrypted" else " (goal 1.10)")
            )


def published(collection: md.Collection, rows: list[dict[str, object]]) -> None:
    for row in rows[:-1]:
        collection.publish(row, wait="queued")
    collection.publish(rows[-1], wait="sent", timeout=3600)


def framed(collection: md.Collection, expected: int) -> None:
    frame = collection.query(timeout=0).to_pandas()
    assert len(frame) == expected, len(frame)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
