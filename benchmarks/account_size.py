"""G5: what an account's other rooms cost: a one-shot publish and a subscription, with many rooms and with one."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matrixdata as md
from benchmarks._raw import Raw, address_of
from matrixdata import homeserver

# The leanest one-shot script there can be: one PUT, the token at hand.
_RAW = """
import sys, httpx
url, token, room, number = sys.argv[1:]
path = f"{url}/_matrix/client/v3/rooms/{room}/send/io.example.raw/t{number}"
headers = {"Authorization": f"Bearer {token}"}
httpx.put(path, json={"n": int(number)}, headers=headers, trust_env=False).raise_for_status()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", type=int, default=50, help="the goal is stated for 500")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode, on both sides
    with tempfile.TemporaryDirectory() as home, md.LocalServer() as server:
        os.environ["MATRIXDATA_HOME"] = home
        address = address_of(server.directory)
        rooms = {name: prepared(address, name, many) for name, many in (("one", 1), ("many", options.rooms))}
        published: dict[str, list[float]] = {"one": [], "many": []}
        ready: dict[str, list[float]] = {"one": [], "many": []}
        raw, lean = Raw(address, "many"), []
        for run in range(options.runs):
            for name, room_id in rooms.items():
                command = [sys.executable, "-m", "matrixdata.cli", "publish", "bench", f'{{"n": {run}}}']
                published[name].append(timed([*command, "--profile", name]))
                ready[name].append(time_to_ready(address, name, room_id, Path(home) / f"{name}{run}"))
            token = raw.http.headers["Authorization"].removeprefix("Bearer ")
            lean.append(timed([sys.executable, "-c", _RAW, address.url, token, rooms["many"], str(run)]))
    one, many, least = (statistics.median(times) for times in (published["one"], published["many"], lean))
    print(
        f"one-shot publish, whole process, {options.rooms} rooms: {many:.2f} s; raw script {least:.2f} s; "
        f"ratio {many / least:.2f} (goal 2); account with one room {one:.2f} s, ratio {many / one:.2f}"
    )
    one, many = statistics.median(ready["one"]), statistics.median(ready["many"])
    print(
        f"subscription ready, {options.rooms} rooms: {many * 1000:.0f} ms; "
        f"one room {one * 1000:.0f} ms; ratio {many / one:.2f} (goal 1.5)"
    )


def prepared(address: homeserver.ServerAddress, name: str, rooms: int) -> str:
    """A user in so many rooms, one of which is the collection "bench", logged in as the profile of that name."""
    user = Raw(address, name)

    def create(_: int) -> None:
        user.http.post("/_matrix/client/v3/createRoom", json={"preset": "private_chat"}).raise_for_status()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, range(rooms - 1)))
    password = homeserver.register(address, name)
    with md.connect(address.url, user=user.user_id, password=password, profile=name) as client:
        return client.create_collection("bench", encrypted=False).room_id


def time_to_ready(address: homeserver.ServerAddress, name: str, room_id: str, store: Path) -> float:
    """From a client that has never synced to a subscription that is live."""
    password = homeserver.register(address, name)
    with md.connect(address.url, user=f"@{name}:{address.name}", password=password, store=store) as client:
        started = time.perf_counter()
        with client.collection(room_id).subscribe():
            return time.perf_counter() - started


def timed(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
