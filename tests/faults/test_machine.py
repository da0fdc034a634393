"""P10: whatever happens in whatever order, every reader ends with what a dictionary says.

A writer in a process of its own publishes through a network that comes and goes; it is killed, its records are edited
and redacted, it is kicked and invited again, the room is upgraded, and the homeserver is killed.
"""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

import matrixdata as md
from matrixdata import homeserver
from matrixdata.protocol.content import pack_record
from tests.faults.harness import Break, child, fault
from tests.faults.test_upgrade import upgraded
from tests.servers import SCHEMA, RawUser, TestServer, wait_until

WRITER = """
import json
import matrixdata as md
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
readings = client.collection(sys.argv[4])
for line in sys.stdin:
    command, *rest = json.loads(line)
    answer = None
    try:
        if command == "publish":
            answer = readings.publish({"device": "d1", "temp": rest[1]}, uid=rest[0], wait="queued").state
        elif command == "outbox":
            answer = [[item.uid, item.state, item.reason] for item in client.outbox.list() if item.state != "sent"]
        elif command == "join":
            readings = client.collection(rest[0])
        elif command == "follow":
            readings = readings.follow_upgrade()
            answer = readings.room_id
        elif command == "left":
            answer = readings.query(timeout=5, on_incomplete="ignore").completeness.left is not None
        elif command == "read":
            found = readings.query(timeout=20, on_incomplete="ignore")
            answer = [{record.uid: record.value["temp"] for record in found}, found.completeness.fresh]
    except md.MatrixDataError as error:
        answer = type(error).__name__
    print(json.dumps(answer), flush=True)
"""


class World(RuleBasedStateMachine):
    """The machine; `server` is set by the test that runs it."""

    server: TestServer

    @initialize()
    def begin(self):
        self.values: dict[str, float] = {}
        self.published = 0
        self.up, self.member = True, True
        self.past: list[str] = []  # rooms that were replaced
        # The server may have another port after it was killed: everybody comes through a proxy that knows.
        self.network, self.steady = self.server.proxy(), self.server.proxy()
        self.name = self.server.name("writer")
        self.owner = self.server.connect(self.server.name("owner"), url=self.steady.url)
        self.account = self.server.account(self.name, url=self.network.url)
        with md.connect(**self.account) as client:
            self.user_id = client.user_id
            room = self.owner.create_collection(
                "readings", schema=SCHEMA, encrypted=False, invite=[self.user_id]
            )
            self.room_id = room.room_id
            client.collection(self.room_id)
        self.chief = self.raw(self.owner.user_id)
        self.other_device = self.raw(self.user_id)
        self.start()

    def raw(self, user_id: str) -> RawUser:
        name = user_id[1:].partition(":")[0]
        user = RawUser(self.steady.url, user_id, homeserver.register(self.server.address, name))
        self.server.open.append(user)
        return user

    def start(self):
        arguments = [
            self.account["homeserver"],
            self.account["user"],
            str(self.account["store"]),
            self.room_id,
        ]
        self.process = child(WRITER, *arguments, stderr=None)

    def tell(self, *command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        late = threading.Timer(60, self.process.kill)
        late.start()
        answer = self.process.stdout.readline()
        late.cancel()
        assert answer, f"the writer ended, or did not answer to {command}"
        return json.loads(answer)

    def events(self, room_id: str | None = None) -> dict[str, dict]:
        """Records on the server by uid, in the newest room or another; edits and what is redacted are none."""
        records = self.chief.records(room_id or self.room_id)
        found = [event for event in records if "m.relates_to" not in event["content"]]
        found = [event for event in found if event["content"]]
        by_uid = {event["content"]["uid"]: event for event in found}
        assert len(by_uid) == len(found), "two events for one record"
        return by_uid

    # -- what happens ---------------------------------------------------------------------------------
    @precondition(lambda self: self.member)
    @rule(temp=st.floats(-50, 50, allow_nan=False))
    def publish(self, temp):
        self.write(temp)

    def write(self, temp=21.5):
        """Also before whatever else happens: Hypothesis may leave any one rule out of all its examples."""
        uid = f"u{self.published}"
        self.published += 1
        assert self.tell("publish", uid, temp) in {"queued", "sent", "synced"}
        self.values[uid] = temp

    @precondition(lambda self: self.values)
    @rule(pick=st.integers(0, 999), temp=st.floats(-50, 50, allow_nan=False))
    def edit(self, pick, temp):
        """By the writer's other device, of what has arrived."""
        here = self.events()
        # Those that a rate limit packed into batches are not edited.
        arrived = sorted(uid for uid in set(here) & set(self.values) if "index" not in here[uid])
        if arrived and self.member:
            uid = arrived[pick % len(arrived)]
            new = pack_record(
                {"device": "d1", "temp": temp}, uid=uid, schema_hash=here[uid]["content"]["schema"]
            )
            relation = {"rel_type": "m.replace", "event_id": here[uid]["event_id"]}
            self.other_device.send(self.room_id, {"m.new_content": new, "m.relates_to": relation})
            self.values[uid] = temp

    @precondition(lambda self: self.values)
    @rule(pick=st.integers(0, 999))
    def redact(self, pick):
        here = self.events()
        arrived = sorted(set(here) & set(self.values))
        if arrived:
            uid = arrived[pick % len(arrived)]
            self.chief.redact(self.room_id, here[uid]["event_id"])
            del self.values[uid]

    @precondition(lambda self: self.up)
    @rule()
    def lose_the_network(self):
        self.network.down()
        self.up = False
        if self.member:
            self.write()

    @precondition(lambda self: not self.up)
    @rule()
    def find_the_network(self):
        self.network.up()
        self.up = True

    @rule()
    def kill_the_writer(self):
        if self.member:
            self.write()
        self.end()
        self.start()

    @precondition(lambda self: self.up and self.member)
    @rule()
    def kick(self):
        """Once nothing is under way: what becomes of the rest is another test's."""
        self.write()
        self.drain()
        self.chief.kick(self.room_id, self.user_id)
        self.member = False
        wait_until(lambda: self.tell("left"))
        assert self.tell("publish", "refused", 0.0) == "RoomLeft"

    @precondition(lambda self: self.up and not self.member)
    @rule()
    def come_back(self):
        self.chief.invite(self.room_id, self.user_id)
        self.other_device.join(self.room_id)
        self.tell("join", self.room_id)
        self.member = True

    @precondition(lambda self: self.member and len(self.past) < 2)
    @rule()
    def upgrade(self):
        """What is not sent yet goes to the new room; during an outage that may be anything."""
        self.write()
        if self.up:
            self.drain()
        new_room_id = upgraded(self.chief, self.room_id, "12")
        new = self.owner.collection(self.room_id).follow_upgrade()
        assert new.room_id == new_room_id
        new.invite(self.user_id)
        self.past.append(self.room_id)
        self.room_id = new_room_id
        if not self.up:
            self.find_the_network()
        wait_until(lambda: self.tell("follow") == new_room_id, 60)

    @rule()
    def kill_the_server(self):
        if self.member:
            self.write()
        os.kill(self.server.address.pid, signal.SIGKILL)
        self.server.address = homeserver.start(self.server.address.directory, owned=True)
        self.network.target = self.steady.target = self.server.url

    # -- the end --------------------------------------------------------------------------------------
    def drain(self):
        wait_until(lambda: self.tell("outbox") == [], 60)

    def end(self):
        self.process.kill()
        self.process.wait(30)
        self.process.stdin.close()
        self.process.stdout.close()

    def teardown(self):
        if not hasattr(self, "process"):
            return
        try:
            if not self.up:
                self.network.up()
            if not self.member:
                self.come_back()
            self.drain()
            rooms = [*self.past, self.room_id]
            where = {room_id: self.events(room_id).keys() for room_id in rooms}
            everything = sorted(uid for uids in where.values() for uid in uids)
            assert everything == sorted(self.values), "not what was accepted and not redacted, or not once"
            expected = {room_id: {uid: self.values[uid] for uid in uids} for room_id, uids in where.items()}
            wait_until(lambda: self.tell("read") == [expected[self.room_id], True], 60)
            for room_id in rooms:
                found = self.owner.collection(room_id).query(timeout=30, on_incomplete="raise")
                assert {record.uid: record.value["temp"] for record in found} == expected[room_id]
        finally:
            self.end()
            for each in self.server.open:
                each.close()
            self.server.open.clear()


@pytest.mark.slow
@pytest.mark.timeout(400)
@fault(
    "P10",
    broken=Break(
        "matrixdata/publishing/acceptance.py",
        "stored = await self._outbox.accept(items, job=job, packing=packing)",
        "stored = list(items)",
    ),
)
def test_in_whatever_order_things_happen_readers_agree_with_a_dictionary(tmp_path):
    address = homeserver.start(tmp_path / "server", owned=True)
    try:
        World.server = TestServer(address, tmp_path / "stores")
        run_state_machine_as_test(
            World,
            settings=settings(
                max_examples=3,
                stateful_step_count=12,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        homeserver.stop(tmp_path / "server")


@fault(
    "P10", broken=Break("matrixdata/collection/following.py", "items=[item.id for item in items]", "items=[]")
)
def test_rooms_upgraded_in_the_middle_of_things_lose_and_double_nothing(server):
    World.server = server
    world = World()
    world.begin()
    try:
        world.publish(1.0)
        world.upgrade()
        world.publish(2.0)
        world.drain()
        world.edit(0, 3.0)
        world.lose_the_network()
        world.publish(4.0)
        world.kill_the_writer()
        world.publish(5.0)
        world.upgrade()
        world.publish(6.0)
    finally:
        world.teardown()
    assert len(world.past) == 2
