"""G1r: one reading a second at a stock Synapse's rate limit (0.2 messages a second, burst 10), one event a reading.

The sensor's hour is scaled: its readings carry times a second apart and are handed over at once, which is the backlog
that the limit makes of them anyway. The other side of the comparison is the time that the limit itself asks for.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import matrixdata as md
from benchmarks._raw import Raw
from matrixdata import homeserver

RATE, BURST = 0.2, 10  # Synapse's rc_message
HOUR = 3600
IN_AN_EVENT = 4500  # typical readings that fit into one compressed event


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=int, default=30, help="each beyond the burst takes 5 s")
    count = parser.parse_args().readings
    with tempfile.TemporaryDirectory() as directory, md.LocalServer(limits="stock") as server:
        address = homeserver.start(server.directory, limits="stock")
        store = Path(directory) / "store"
        client = md.connect(
            address.url,
            user=f"@sensor:{address.name}",
            password=homeserver.register(address, "sensor"),
            store=store,
            replica="none",
            store_limit="64MB",
        )
        with client:
            readings = client.create_collection("bench", time="ts", encrypted=False)
            empty = used(store)
            wall, cpu = time.perf_counter(), time.process_time()
            with readings.publisher(linger=1.0, timeout=0) as publisher:
                for number in range(count):
                    last = publisher.publish(reading(number))
            backlog = used(store) - empty
            accepting = time.process_time() - cpu
            last.wait("sent", timeout=10 * count + 60)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            left = client.status().queued + client.status().stuck
            room_id = readings.room_id
        found = records(Raw(address, "sensor"), room_id)
    tell(count, found, left, wall=wall, cpu=cpu, accepting=accepting, backlog=backlog)


def reading(number: int) -> dict[str, object]:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    return {"ts": at.isoformat(), "device": "d1", "temp": 20 + number % 50 / 10, "hum": 55, "ok": True}


def used(store: Path) -> int:
    return sum(path.stat().st_size for path in store.glob("*.db*"))


def records(user: Raw, room_id: str) -> list[str]:
    """The times of the readings on the server, by a checker of its own."""
    query = {"dir": "f", "limit": 1000}
    page = user.http.get(
        f"/_matrix/client/v3/rooms/{quote(room_id)}/messages", params=query
    ).raise_for_status()
    return [
        event["content"]["value"]["ts"]
        for event in page.json()["chunk"]
        if event["type"] == "io.matrixdata.record"
    ]


def tell(
    count: int, found: list[str], left: int, *, wall: float, cpu: float, accepting: float, backlog: int
) -> None:
    needed = max(0, count - BURST) / RATE
    lost, doubled = count - len(set(found)), len(found) - len(set(found))
    print(
        f"{count} readings accepted, {len(found)} on the server: {lost} lost, {doubled} doubled, {left} left queued"
    )
    print(
        f"all there after {wall:.0f} s; the limit itself asks for {needed:.0f} s; ratio {wall / max(needed, 1):.2f}"
    )
    print(
        f"CPU {cpu:.2f} s, {cpu / wall:.1%} of a core; {1000 * accepting / count:.1f} ms a reading to accept; "
        f"disk for the backlog {backlog / 1000:.0f} kB"
    )
    hours = (HOUR - BURST) / RATE / HOUR
    print(
        f"one event a reading: an hour at 1 Hz needs {hours:.1f} h at this limit, so the goal (60 s after the last) is "
        f"NOT met; batch events of up to {IN_AN_EVENT} readings, one a minute, would take {60 / HOUR / RATE:.0%} of it"
    )


if __name__ == "__main__":
    main()
