"""G2e: the history of an encrypted room into replica and frame, beside raw pagination; and what encryption costs."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from typing import Any

import matrixdata as md
from benchmarks._raw import Raw, address_of
from matrixdata import homeserver


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
        peer_of_ours = NioReader(address_of(server.directory)) if NioReader.is_here() else None
        if peer_of_ours is not None:
            rooms["encrypted"].invite(peer_of_ours.user_id)
            peer_of_ours.join(rooms["encrypted"].room_id)
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
            if kind == "encrypted" and peer_of_ours is not None:
                taken = peer_of_ours.history(made.room_id, options.events)
                print(
                    f"encrypted: matrix-nio, decrypting {options.events} events into a frame: {taken:.2f} s; "
                    f"{taken / them:.2f} x raw pagination, {taken / us:.2f} x ours"
                )
                peer_of_ours.close()


class NioReader:
    """matrix-nio, as it reads the history of a room; it keeps nothing of it."""

    def __init__(self, address: homeserver.ServerAddress) -> None:
        import nio  # noqa: PLC0415  only where it is installed

        self._loop = asyncio.new_event_loop()
        self._store = tempfile.TemporaryDirectory()
        self.user_id = f"@nio:{address.name}"
        config = nio.AsyncClientConfig(encryption_enabled=True, store_sync_tokens=False)
        self._client = nio.AsyncClient(address.url, self.user_id, store_path=self._store.name, config=config)
        self._run(self._client.login(homeserver.register(address, "nio")))
        self._run(self._client.keys_upload())

    @staticmethod
    def is_here() -> bool:
        """Whether it is installed."""
        return importlib.util.find_spec("nio") is not None

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    def join(self, room_id: str) -> None:
        """Before anything is written there: it gets the keys then."""
        self._run(self._client.join(room_id))
        self._run(self._client.sync(timeout=0, full_state=True))

    def history(self, room_id: str, expected: int) -> float:
        """Seconds for a frame of all records; the room key came before that."""
        import pandas as pd  # noqa: PLC0415  nothing else here needs it

        self._run(self._client.sync(timeout=0))
        started, token, found = time.perf_counter(), "", []
        while token is not None:
            page = self._run(self._client.room_messages(room_id, token, limit=1000))
            found += [event.source["content"]["value"] for event in page.chunk if event.decrypted]
            token = page.end if page.chunk else None
        frame = pd.json_normalize(found)
        assert len(frame) == expected, len(frame)
        return time.perf_counter() - started

    def close(self) -> None:
        """Leave nothing behind."""
        self._run(self._client.close())
        self._loop.close()
        self._store.cleanup()


def published(collection: md.Collection, rows: list[dict[str, object]]) -> None:
    report = collection.publish_many(rows, batch=False, timeout=3600)
    assert report.sent == len(rows), report


def framed(collection: md.Collection, expected: int) -> None:
    frame = collection.query(timeout=0).to_pandas()
    assert len(frame) == expected, len(frame)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
