"""G1r: one reading a second for an hour at a stock Synapse's rate limit (0.2 messages a second, burst 10).

All 3,600 readings are published one by one, `--faster` times as quickly as the sensor would, against a server whose
limit is as many times as high: what waits behind the limit at each moment is what would wait in real time, and a delay
counts `--faster` times as long. With `--faster 1` the limit is the stock one and the hour an hour.
"""

from __future__ import annotations

import argparse
import base64
import json
import tempfile
import time
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import matrixdata as md
from benchmarks._raw import Raw
from matrixdata import homeserver

RATE, BURST = 0.2, 10  # Synapse's rc_message
BATCH = "io.matrixdata.batch"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=int, default=3600)
    parser.add_argument("--faster", type=float, default=30.0)
    given = parser.parse_args()
    limit = {"per_second": RATE * given.faster, "burst_count": BURST}
    with tempfile.TemporaryDirectory() as directory:
        place, store = Path(directory) / "server", Path(directory) / "store"
        address = homeserver.start(place, owned=True, limits="stock", extra_config={"rc_message": limit})
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
            for number in range(given.readings):
                readings.publish(reading(number), wait="queued")
                time.sleep(max(0.0, wall + (number + 1) / given.faster - time.perf_counter()))
            last = time.perf_counter()
            disk = used(store) - empty
            while client.status().queued and time.perf_counter() < last + 600:
                time.sleep(0.01)
            done, cpu = time.perf_counter(), time.process_time() - cpu
            left = client.status().queued + client.status().stuck
            found, events = records(Raw(address, "sensor"), readings.room_id)
        homeserver.stop(place)
    seconds = (done - last) * given.faster
    lost, doubled = given.readings - len(set(found)), len(found) - len(set(found))
    print(
        f"{given.readings} readings at {given.faster:g} a second, the limit {RATE * given.faster:g} events a second"
    )
    print(
        f"{len(found)} on the server in {events} events: {lost} lost, {doubled} doubled, {left} left queued"
    )
    print(
        f"the last is there {done - last:.2f} s after it was published, {seconds:.0f} s at a sensor's pace (goal: 60 s)"
    )
    print(
        f"CPU {cpu:.1f} s, {1000 * cpu / given.readings:.1f} ms a reading, {cpu / given.readings:.2%} of a core at a "
        f"sensor's pace; disk for what waited {disk / 1000:.0f} kB"
    )


def reading(number: int) -> dict[str, object]:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    return {"ts": at.isoformat(), "device": "d1", "temp": 20 + number % 50 / 10, "hum": 55, "ok": True}


def used(store: Path) -> int:
    return sum(path.stat().st_size for path in store.glob("*.db*"))


def records(user: Raw, room_id: str) -> tuple[list[str], int]:
    """The times of the readings on the server and the events that hold them, by a checker of its own."""
    found: list[str] = []
    events, query = 0, {"dir": "f", "limit": 1000}
    path = f"/_matrix/client/v3/rooms/{quote(room_id)}/messages"
    while True:
        page = user.http.get(path, params=query).raise_for_status().json()
        for event in page["chunk"]:
            if event["type"] == BATCH:
                text = zlib.decompress(base64.b64decode(event["content"]["records"]))
                found += [value["ts"] for value in json.loads(text)["values"]]
            elif event["type"] == "io.matrixdata.record":
                found.append(event["content"]["value"]["ts"])
            else:
                continue
            events += 1
        if not page["chunk"] or "end" not in page:
            return found, events
        query["from"] = page["end"]


if __name__ == "__main__":
    main()
