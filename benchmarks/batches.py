"""G1: `publish_many` of sensor readings in batches, acknowledged by the server, beside raw PUTs of the same batches.

Both sides send one event at a time into rooms of one server. The raw side gets its batches ready-made, and neither
checks nor stores anything. The sides take turns, and the median of their rounds is compared.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import matrixdata as md
from benchmarks._raw import Raw
from benchmarks.stock_limits import reading
from matrixdata import homeserver

BATCH = "io.matrixdata.batch"
SCHEMA = {
    "type": "object",
    "properties": {
        "ts": {"type": "string"},
        "device": {"type": "string"},
        "temp": {"type": "number", "minimum": -273.15},
        "hum": {"type": "integer"},
        "ok": {"type": "boolean"},
    },
    "required": ["ts", "device", "temp"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    rows = [reading(number) for number in range(given.records)]
    ours: list[float] = []
    cpu: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as directory, md.LocalServer() as server:
        address = homeserver.start(server.directory)
        raw = Raw(address, "raw")
        client = md.connect(
            address.url,
            user=f"@sensor:{address.name}",
            password=homeserver.register(address, "sensor"),
            store=Path(directory) / "store",
            replica="none",
        )
        with client:
            checker = Raw(address, "sensor")
            room = (
                raw.http.post("/_matrix/client/v3/createRoom", json={}).raise_for_status().json()["room_id"]
            )
            for number in range(given.rounds):
                readings = client.create_collection(
                    f"bench{number}", schema=SCHEMA, time="ts", encrypted=False
                )
                started, busy = time.perf_counter(), time.process_time()
                report = readings.publish_many(rows, batch=True, timeout=60)
                ours.append(time.perf_counter() - started)
                cpu.append(time.process_time() - busy)
                assert report.sent == len(rows), report
                contents = batches(checker, readings.room_id)
                started = time.perf_counter()
                for content in contents:
                    raw.send(room, BATCH, content)
                theirs.append(time.perf_counter() - started)
    tell(given.records, contents, ours, theirs, cpu)


def batches(user: Raw, room_id: str) -> list[dict[str, object]]:
    """The batches that stand in a room, oldest first, by a checker of its own."""
    answer = user.http.get(
        f"/_matrix/client/v3/rooms/{quote(room_id)}/messages", params={"dir": "f", "limit": 1000}
    )
    return [event["content"] for event in answer.raise_for_status().json()["chunk"] if event["type"] == BATCH]


def tell(
    count: int, contents: list[dict[str, object]], ours: list[float], theirs: list[float], cpu: list[float]
) -> None:
    own, peer = statistics.median(ours), statistics.median(theirs)
    held = sum(int(str(content["count"])) for content in contents)
    print(f"{count} records in {len(contents)} events, {held} of them found there by another reader")
    print(f"matrixdata {own:.2f} s, {count / own:,.0f} records/s; {statistics.median(cpu):.2f} s of CPU")
    print(f"raw PUTs   {peer:.2f} s, {count / peer:,.0f} records/s")
    print(f"matrixdata is at {peer / own:.2f} of raw (goal: at least 0.8)")


if __name__ == "__main__":
    main()
