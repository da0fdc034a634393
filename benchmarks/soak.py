"""Nothing lost, nothing doubled: processes that publish and read are killed again and again, and the server too.

Each process on the store ends itself at one step of the two paths (docs/ARCHITECTURE.md), the next one at the next
step, so that every window is hit; where a step does not come up in time it is killed wherever it is. In the end the
server's own history, read over plain HTTP, is compared with what was acknowledged.

    python -m benchmarks.soak --kills 100
    python -m benchmarks.soak --processes 2 --seconds 60
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matrixdata as md
from benchmarks._raw import Raw
from matrixdata import homeserver
from matrixdata.model.steps import STEPS

# The steps that each record and each response passes; the others need a set-back server or a session that ends.
WINDOWS = [step for step in STEPS if step.startswith(("publish", "read", "backfill"))]
# Those that a process passes once, if at all: keys come with its first response, a gap is one page, and packing takes
# a long queue.
RARE = {step for step in WINDOWS if step.startswith(("read.2 keys", "publish.3 pack", "backfill"))}

# What a killed process runs: it publishes and reads until it comes to its step.
WORKER = """
import os, random, signal, sys, threading
import matrixdata as md
from matrixdata.model import steps

url, user, store, room, name, step, nth, seed = sys.argv[1:]
left = [int(nth)]
def listen(at):
    if at == step:
        left[0] -= 1
        if left[0] == 0:
            sys.stdout.write(f"killed {step}\\n")
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
steps.listener = listen

def say(*words):
    sys.stdout.write(" ".join(words) + "\\n")
    sys.stdout.flush()

chance = random.Random(int(seed))
client = md.connect(url, user=user, store=store)
readings = client.collection(room)

def read():
    with readings.subscribe() as sub:
        for record in sub:
            pass

threading.Thread(target=read, daemon=True).start()
number = 0
while True:
    uid = f"{name}.{number}"
    number += 1
    say("offer", uid)
    # What is published faster than it can be sent is packed.
    wait = "queued" if "pack" in step else chance.choice(["queued", "queued", "sent", "synced"])
    readings.publish({"name": name, "number": number, "value": chance.random()}, uid=uid, wait=wait, timeout=1)
    say("accept", uid)
    if chance.random() < 0.1:
        readings.query(timeout=1, on_incomplete="ignore").count()
"""


@dataclass
class Run:
    """One run: what was offered and accepted, and who was killed where."""

    directory: Path
    chance: random.Random
    offered: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    kills: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        """A server, a collection, and a store that nobody uses yet."""
        self.address = homeserver.start(self.directory / "server", owned=True)
        self.user = f"@ada:{self.address.name}"
        self.store = self.directory / "store"
        with self.client() as client:
            self.room = client.create_collection("soak", encrypted=False).room_id
        self.raw = Raw(self.address, "ada")

    def client(self) -> md.Client:
        """One more client on the store."""
        password = homeserver.register(self.address, "ada")
        return md.connect(self.address.url, user=self.user, password=password, store=self.store)

    def work(self, name: str, step: str, patience: float) -> None:
        """One process from start to kill."""
        nth = 1 if step in RARE else self.chance.randint(1, 4)
        arguments = [self.address.url, self.user, str(self.store), self.room, name, step, str(nth)]
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments, str(self.chance.randrange(2**31))],
            stdout=subprocess.PIPE,
            text=True,
        )
        late = threading.Timer(patience, process.send_signal, (signal.SIGKILL,))
        late.start()
        at = "elsewhere"
        for line in process.stdout or ():
            what, _, which = line.rstrip("\n").partition(" ")
            with self.lock:
                if what == "offer":
                    self.offered.add(which)
                elif what == "accept":
                    self.accepted.add(which)
                else:
                    at = which
        process.wait()
        late.cancel()
        if process.returncode == -signal.SIGKILL:
            with self.lock:
                self.kills[at] += 1
        elif not self.stop.is_set():
            raise SystemExit(f"a process ended by itself with {process.returncode}; see its error above")

    def flood(self, events: int) -> None:
        """Events of somebody else while nobody reads, so that a gap opens and is filled."""
        with self.lock, ThreadPoolExecutor(4) as pool:  # the server is not killed meanwhile
            others = [Raw(self.address, "ada") for _ in range(4)]
            for number in range(events):
                pool.submit(others[number % 4].send, self.room, "io.example.noise", {"n": number})

    def restart_server(self) -> None:
        """SIGKILL the server in the middle of its work, and start it again."""
        os.kill(self.address.pid, signal.SIGKILL)
        self.kills["server"] += 1
        self.address = homeserver.start(self.directory / "server", owned=True)

    def report(self) -> bool:
        """Drain the outbox, ask the server, and print; True when nothing is lost or doubled."""
        with self.client() as client:
            readings = client.collection(self.room)
            deadline = time.monotonic() + 120
            while (left := client.status()).queued and time.monotonic() < deadline:
                time.sleep(0.1)
            rows = Counter(record.uid for record in readings.query(timeout=60, on_incomplete="raise"))
            stuck = left.stuck + left.queued
        here = Counter(uid for page in self.raw.pages(self.room) for event in page for uid in uids(event))
        lost = self.accepted - set(here)
        doubled = sum(count - 1 for count in here.values())
        unread, twice = set(here) - set(rows), sum(count - 1 for count in rows.values())
        print(
            f"accepted {len(self.accepted):,} · on the server {len(here):,} · kills {sum(self.kills.values())}"
        )
        print(f"lost {len(lost)} · doubled on the server {doubled} · still in the outbox {stuck}")
        print(f"a reader misses {len(unread)} · counts twice {twice}")
        for step in (*WINDOWS, "elsewhere", "server"):
            print(f"  {self.kills[step]:4} kills at {step}")
        never = [step for step in WINDOWS if not self.kills[step]]
        if never:
            print("never hit: " + ", ".join(never))
        return not (lost or doubled or unread or twice or stuck)


def uids(event: dict[str, Any]) -> list[str]:
    """The uids of the records that an event holds, read without the library (docs/wire-format.md)."""
    content = event["content"]
    if event["type"] == "io.matrixdata.record":
        return [content["uid"]]
    if event["type"] == "io.matrixdata.batch":
        found: list[str] = json.loads(zlib.decompress(base64.b64decode(content["records"])))["uids"]
        return found
    return []


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="stop after so many kills")
    parser.add_argument("--processes", type=int, default=1, help="so many at once on one store")
    parser.add_argument("--seconds", type=float, default=0, help="stop after so long instead")
    parser.add_argument("--server-every", type=int, default=10, help="kill the server after so many kills")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        run = Run(Path(directory), random.Random(given.seed))
        run.begin()
        try:
            soak(run, given)
            return 0 if run.report() else 1
        finally:
            homeserver.stop(run.directory / "server")


def soak(run: Run, given: argparse.Namespace) -> None:
    steps = itertools.cycle(WINDOWS)
    names = itertools.count()
    end = time.monotonic() + given.seconds if given.seconds else None
    quota = 10**9 if given.seconds else given.kills

    def done() -> bool:
        return sum(run.kills.values()) >= quota or (end is not None and time.monotonic() > end)

    def slot() -> None:
        while not done():
            with run.lock:
                step, name = next(steps), f"p{next(names)}"
            if step.startswith("backfill") and given.processes == 1:
                run.flood(130)
            run.work(name, step, patience=15 if given.processes == 1 else run.chance.uniform(2, 8))

    def server() -> None:
        before = 0
        while not run.stop.wait(0.2):
            kills = sum(run.kills.values())
            if kills >= before + given.server_every:
                before = kills
                with run.lock:
                    run.restart_server()
                print(f"{kills} kills, {len(run.accepted):,} accepted", file=sys.stderr, flush=True)

    slots = [threading.Thread(target=slot) for _ in range(given.processes)]
    killer = threading.Thread(target=server)
    for thread in (*slots, killer):
        thread.start()
    for thread in slots:
        thread.join()
    run.stop.set()
    killer.join()


if __name__ == "__main__":
    sys.exit(main())
