"""G4: from publish to a subscriber in another client, beside a raw PUT and a raw long poll."""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from queue import Queue

import matrixdata as md
from benchmarks._raw import Raw, address_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=60)
    count = parser.parse_args().records
    with md.LocalServer() as server:
        ada, ben = server.connect("ada"), server.connect("ben")
        collection = ada.create_collection("bench", encrypted=False, invite=[ben.user_id])
        address = address_of(server.directory)
        sender, reader = Raw(address, "ada"), Raw(address, "ben")
        ours, raw = [], []
        with ben.collection(collection.room_id).subscribe() as subscription:
            poll = RawPoll(reader, collection.room_id)
            collection.publish({"warm": "up"})
            subscription.get(timeout=10)
            poll.arrived.get(timeout=10)
            for number in range(count):
                started = time.perf_counter()
                collection.publish({"n": number}, wait="queued")
                subscription.get(timeout=10)
                ours.append(time.perf_counter() - started)
                poll.arrived.get(timeout=10)
                started = time.perf_counter()
                sender.send(collection.room_id, "io.example.raw", {"n": number})
                poll.arrived.get(timeout=10)
                raw.append(time.perf_counter() - started)
            poll.stop()
    for name, quantile in (("p50", 0.5), ("p95", 0.95)):
        us, them = at(ours, quantile), at(raw, quantile)
        print(f"{name}: {us * 1000:.1f} ms, raw {them * 1000:.1f} ms, ratio {us / them:.2f} (goal 1.10)")
    print(f"mean: {statistics.mean(ours) * 1000:.1f} ms, raw {statistics.mean(raw) * 1000:.1f} ms")


def at(times: list[float], quantile: float) -> float:
    return sorted(times)[int(len(times) * quantile)]


class RawPoll:
    """A raw long poll in a thread: puts the moment at which each event arrived."""

    def __init__(self, user: Raw, room_id: str) -> None:
        self.arrived: Queue[float] = Queue()
        self._user, self._room, self._stop = user, room_id, threading.Event()
        self._token = self._sync(None)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _sync(self, since: str | None, timeout: int = 0) -> str:
        only = json.dumps({"room": {"rooms": [self._room]}})
        query = {"filter": only, "timeout": timeout} | ({"since": since} if since else {})
        answer = json.loads(
            self._user.http.get("/_matrix/client/v3/sync", params=query).raise_for_status().content
        )
        room = answer.get("rooms", {}).get("join", {}).get(self._room, {})
        if since:
            for _ in room.get("timeline", {}).get("events", []):
                self.arrived.put(time.perf_counter())
        return str(answer["next_batch"])

    def _run(self) -> None:
        while not self._stop.is_set():
            self._token = self._sync(self._token, timeout=1000)

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()


if __name__ == "__main__":
    main()
