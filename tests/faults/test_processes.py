"""Several processes on one store: a notebook and a terminal on the same profile, each killed or stopped at will."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import dataclass, field
from functools import partial

import pytest

from tests.faults.harness import Break, Ledger, child, fault
from tests.servers import SCHEMA, uids, wait_until

SYNCING = "matrixdata/receiving/syncing.py"
LEASE = "matrixdata/replica/lease.py"

PEER = """
import json, threading
import matrixdata as md
from matrixdata.replica import lease
lease.SILENCE = 4
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
readings = client.collection("readings")

def say(*words):
    sys.stdout.write(json.dumps(words) + "\\n")  # in one piece: two threads speak
    sys.stdout.flush()

def listen(live):
    with readings.subscribe() as sub:
        live.set()
        for item in sub.events():
            if isinstance(item, md.Record):
                say("got", item.uid)
            elif isinstance(item, md.Reconnected):
                say("reconnected", item.since is not None)

live = threading.Event()
threading.Thread(target=listen, args=(live,), daemon=True).start()
live.wait()
say("live")
for line in sys.stdin:
    command, *rest = json.loads(line)
    if command == "publish":
        receipt = readings.publish({"device": "d1", "temp": 1.5}, uid=rest[0], wait=rest[1], timeout=30)
        say("published", rest[0], receipt.state)
    elif command == "query":
        say("rows", sorted(record.uid for record in readings.query(timeout=20, on_incomplete="raise")))
    elif command == "status":
        say("status", client.status().synced_by)
    elif command == "connected":
        say("connected", client.status().connected)
"""


@dataclass
class Peer:
    """A process on the store, which says what it sees."""

    arguments: tuple[str, ...]
    said: list[list] = field(default_factory=list)

    def __post_init__(self):
        self.process = child(PEER, *self.arguments, stderr=None)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def tell(self, *command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def ask(self, *command):
        """Tell, and the answer that comes."""
        before = len(self.answers)
        self.tell(*command)
        return wait_until(lambda: self.answers[before:], 60)[0][1:]

    @property
    def answers(self):
        return [words for words in self.said if words[0] not in {"got", "live", "reconnected"}]

    @property
    def got(self):
        return [words[1] for words in self.said if words[0] == "got"]

    def has(self, *some):
        return set(some) <= set(self.got)

    def is_live(self):
        return ["live"] in self.said

    def end(self, how=signal.SIGKILL):
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(how)
        self.process.wait(timeout=30)
        self.reader.join(10)
        self.process.stdin.close()
        self.process.stdout.close()


@dataclass
class Shared:
    """A store that several processes use, with the independent checker beside it."""

    server: object
    name: str
    room_id: str
    raw: object
    network: object
    peers: list = field(default_factory=list)

    def peer(self):
        account = self.server.account(self.name)
        peer = Peer((self.network.url, account["user"], str(account["store"])))
        self.peers.append(peer)
        wait_until(lambda: peer.is_live() or peer.process.poll() is not None, 60)
        assert peer.is_live()
        return peer

    def send(self, uid):
        """A record of the same user from another device."""
        value = {"device": "d2", "temp": 1}
        self.raw.send(self.room_id, {"value": value, "uid": uid, "v": 1} | self.stamp)

    @property
    def stamp(self):
        schema = self.raw.state(self.room_id, "io.matrixdata.collection")
        return {"schema": schema["schema"]["hash"]}


@pytest.fixture
def shared(server):
    name, network = server.name("writer"), server.proxy()
    with server.connect(name, url=network.url) as client:
        room_id = client.create_collection("readings", schema=SCHEMA, encrypted=False).room_id
    shared = Shared(server, name, room_id, server.raw(name), network)
    yield shared
    for peer in shared.peers:
        if peer.process.poll() is None:
            peer.end()
        print(f"process {peer.process.pid} said {peer.said}")  # seen when a test fails


@fault("F26", broken=Break(LEASE, "                _lock(fd)", "                pass"))
def test_two_processes_share_a_store_and_each_reads_what_either_writes(shared):
    first, second = shared.peer(), shared.peer()
    assert first.ask("status") == second.ask("status") == [first.process.pid]
    assert first.ask("publish", "a", "synced") == ["a", "synced"]
    assert second.ask("publish", "b", "synced") == ["b", "synced"]
    wait_until(lambda: (sorted(first.got), sorted(second.got)) == (["a", "b"], ["a", "b"]))
    assert first.ask("query") == second.ask("query") == [["a", "b"]]
    assert uids(shared.raw.records(shared.room_id)) == ["a", "b"]


@fault(
    "F26",
    broken=Break(SYNCING, "if self._lease.look():", "if self._lease.look() and not self._shared.epoch:"),
)
def test_when_the_process_that_syncs_is_killed_another_goes_on_and_misses_nothing(shared):
    first, second = shared.peer(), shared.peer()
    ledger = Ledger()
    for turn in range(3):
        before, after = f"before{turn}", f"after{turn}"
        second.ask("publish", before, "sent")
        first.end()
        second.ask("publish", after, "synced")
        ledger.accept(before, after)
        wait_until(partial(second.has, before, after))
        assert second.ask("status") == [second.process.pid]
        first, second = second, shared.peer()
    assert first.ask("query") == second.ask("query") == [sorted(ledger.accepted)]
    ledger.check_server(shared.raw, shared.room_id)


@fault("F26", broken=Break(LEASE, "self._heard[1] > SILENCE", "False"))
def test_a_process_that_was_stopped_is_replaced_and_commits_nothing_when_it_wakes(shared):
    first, second = shared.peer(), shared.peer()
    first.process.send_signal(signal.SIGSTOP)
    assert second.ask("publish", "meanwhile", "synced") == ["meanwhile", "synced"]
    assert second.ask("status") == [second.process.pid]
    first.process.send_signal(signal.SIGCONT)
    assert second.ask("publish", "afterwards", "synced") == ["afterwards", "synced"]
    wait_until(lambda: set(first.got) == {"meanwhile", "afterwards"})
    wait_until(lambda: first.ask("status") == [second.process.pid])
    assert first.ask("publish", "mine", "synced") == ["mine", "synced"]
    wait_until(lambda: sorted(second.got) == ["afterwards", "meanwhile", "mine"])
    assert first.ask("query") == second.ask("query") == [["afterwards", "meanwhile", "mine"]]
    assert second.ask("status") == [second.process.pid]
    assert sorted(first.got) == ["afterwards", "meanwhile", "mine"]


@fault("F26", broken=Break(SYNCING, "await self._sharing.want(course.wanted - shared.wanted)", "pass"))
def test_two_clients_of_one_process_share_a_store_each_with_rooms_of_its_own(server):
    name = server.name("writer")
    first, second = server.connect(name), server.connect(name)
    both = first.create_collection("readings", schema=SCHEMA, encrypted=False)
    own = second.create_collection("more", schema=SCHEMA, encrypted=False)
    with both.subscribe() as one, second.collection("readings").subscribe() as two, own.subscribe() as three:
        second.collection("readings").publish({"device": "d1", "temp": 1}, uid="a", wait="synced", timeout=20)
        own.publish({"device": "d1", "temp": 1}, uid="b", wait="synced", timeout=20)
        assert (one.get(timeout=20).uid, two.get(timeout=20).uid, three.get(timeout=20).uid) == (
            "a",
            "a",
            "b",
        )
    assert first.status().synced_by == second.status().synced_by == os.getpid()


@fault("F26", broken=Break(SYNCING, "self._course.outages.ended(told.since, told.reason)", "pass"))
def test_an_outage_that_the_leader_met_is_told_by_those_who_follow_it(shared):
    first, second = shared.peer(), shared.peer()
    shared.network.down()
    wait_until(lambda: second.ask("connected") == [False])
    shared.send("meanwhile")
    shared.network.up()
    for peer in (first, second):
        wait_until(lambda peer=peer: peer.has("meanwhile"))
        told = [words for words in peer.said if words[0] in {"got", "reconnected"}]
        assert told == [["reconnected", True], ["got", "meanwhile"]]
