"""A room that was upgraded: nothing more is written to the old one, reading goes on, and who wants to follows."""

from __future__ import annotations

import time

import pytest

import matrixdata as md
from tests.faults.harness import Break, fault, run, was_killed
from tests.servers import SCHEMA, Answer, encoded, uids, wait_until

pytestmark = pytest.mark.server
STANDING = "matrixdata/receiving/standing.py"
FOLLOWING = "matrixdata/collection/following.py"
COLLECTION, SCHEMA_TYPE = "io.matrixdata.collection", "io.matrixdata.schema"


def reading(number):
    return {"temp": number}


def full(number):
    return {"device": "d1", "temp": number}


def upgraded(raw, room_id, version="11"):
    """The room that replaces one. From version 12 on creators have power of their own; a step back loses it."""
    path = f"{encoded('rooms', room_id)}/upgrade"
    return raw.call("POST", path, {"new_version": version})["replacement_room"]


def ours(raw, room_id):
    """The events of our own state in a room's history, by type and state key."""
    return [
        (e["type"], e["state_key"]) for e in raw.timeline(room_id) if e["type"] in {COLLECTION, SCHEMA_TYPE}
    ]


def closed(raw, room_id, new_room_id):
    answer = raw.put_state(
        room_id, "m.room.tombstone", "", {"body": "moved", "replacement_room": new_room_id}
    )
    assert answer.status_code == 200, answer.text


@pytest.fixture
def name(server):
    return server.name("owner")


@fault(
    "F21",
    broken=Break(
        STANDING,
        "        if new_room_id is not None:\n            raise RoomReplaced",
        "        if not room_id:\n            raise RoomReplaced",
    ),
)
def test_an_upgraded_room_is_read_to_its_end_and_written_to_no_more(server, name):
    client, raw = server.connect(name), server.raw(name)
    readings = client.create_collection("readings", encrypted=False)
    readings.publish(reading(1))
    with readings.subscribe(start="all") as subscription:
        assert subscription.get(timeout=20).value == reading(1)
        new_room_id = upgraded(raw, readings.room_id)
        with pytest.raises(md.RoomReplaced) as replaced:
            subscription.get(timeout=20)
    assert (replaced.value.room_id, replaced.value.new_room_id) == (readings.room_id, new_room_id)
    for refused in (lambda: readings.publish(reading(2)), lambda: readings.publish_many([reading(2)])):
        with pytest.raises(md.RoomReplaced) as replaced:
            refused()
        assert replaced.value.new_room_id == new_room_id
    assert client.outbox.list() == []
    assert readings.query(on_incomplete="raise").values() == [reading(1)]
    assert len(raw.records(readings.room_id)) == 1


@fault("F21", broken=Break("matrixdata/publishing/drain.py", "if barred is not None:", "if False:"))
def test_what_was_queued_and_what_a_mere_writer_publishes_stays_out_of_an_upgraded_room(server, name):
    network, raw = server.proxy(), server.raw(name)
    client = server.connect(name, url=network.url)
    readings = client.create_collection("readings", encrypted=False)
    network.down()
    receipt = readings.publish(reading(1), wait="queued")
    client.close()
    upgraded(raw, readings.room_id)
    network.up()
    again = server.connect(
        name, url=network.url
    )  # which never reads, and owns the room: the server would let it
    wait_until(
        lambda: [(each.uid, each.reason) for each in again.outbox.list()] == [(receipt.uid, "room_replaced")]
    )
    with pytest.raises(md.RoomReplaced):
        again.collection("readings").publish(reading(2))
    assert raw.records(readings.room_id) == []


@fault("F21", broken=Break(STANDING, 'found.startswith("!") and found != room_id', "found != room_id"))
@pytest.mark.parametrize(
    "content", [{"replacement_room": 7}, {"replacement_room": ""}, {"replacement_room": "nowhere"}]
)
def test_a_tombstone_that_names_no_room_changes_nothing(server, name, content):
    client, raw = server.connect(name), server.raw(name)
    readings = client.create_collection("readings", encrypted=False)
    assert raw.put_state(readings.room_id, "m.room.tombstone", "", content).status_code == 200
    readings.publish(reading(1), wait="synced")
    assert readings.query(on_incomplete="raise").values() == [reading(1)]


@fault(
    "F21",
    broken=(
        Break("matrixdata/client/composition.py", " if self.loop.failing is None else ()", ""),
        Break(STANDING, "            self._asked.clear()  #", "            pass  #"),
    ),
)
@pytest.mark.parametrize("reads", [True, False])
def test_a_room_upgraded_during_an_outage_gets_nothing_of_what_was_queued_meanwhile(server, name, reads):
    network, raw = server.proxy(), server.raw(name)
    client = server.connect(name, url=network.url)
    readings = client.create_collection("readings", encrypted=False)
    readings.publish(reading(1), wait="synced" if reads else "sent")
    network.down()
    receipt = readings.publish(reading(2), wait="queued")
    wait_until(lambda: receipt.reason == "unreachable")
    upgraded(raw, readings.room_id)
    # Its owner, whom the server lets go on writing, is heard again before it hears anything itself.
    network.fault = lambda seen: Answer(502, b"") if "sync" in seen.path else None
    network.up()
    wait_until(lambda: (receipt.state, receipt.reason) == ("stuck", "room_replaced"))
    assert len(raw.records(readings.room_id)) == 1


@fault("F21", broken=Break(STANDING, "abs(self._clock() - asked) < _ASKED_LATELY", "True"))
def test_a_mere_writer_on_a_steady_connection_hears_of_an_upgrade_within_a_minute(server, name):
    raw, now = server.raw(name), [time.time_ns() // 1000]
    client = server.connect(name, clock=lambda: now[0])
    readings = client.create_collection("readings", encrypted=False)
    for number in (1, 2):
        readings.publish(reading(number))
    upgraded(raw, readings.room_id)
    now[0] += 61_000_000
    with pytest.raises(md.RoomReplaced):
        readings.publish(reading(3))
    assert len(raw.records(readings.room_id)) == 2
    assert [each.reason for each in client.outbox.list()][-1:] == ["room_replaced"]


# --- following ---------------------------------------------------------------------------------------


@fault(
    "F21",
    broken=(
        Break(FOLLOWING, "items=[item.id for item in items]", "items=[]"),
        Break(FOLLOWING, "        await _put(services, new.room_id, row)\n", "        pass\n"),
        Break(FOLLOWING, "        await announce(services, name, new)\n", "        pass\n"),
        Break(FOLLOWING, "follow(old, new, names=names", "follow(old, new, names=[]"),
    ),
)
def test_following_an_upgrade_takes_along_name_schema_roles_and_what_was_queued(server, name):
    network, raw = server.proxy(), server.raw(name)
    client = server.connect(name, url=network.url)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    reader = server.user_id(server.name("reader"))
    readings.invite(reader, role="reader")
    readings.publish_many([full(1)], job="import", wait="synced")
    old = readings.room_id
    assert readings.follow_upgrade().room_id == old  # nothing replaced it
    network.down()
    receipt = readings.publish(full(2), wait="queued")
    new_room_id = upgraded(raw, old, "12")
    network.up()
    new = readings.follow_upgrade()
    assert (new.room_id, new.name, new.schema) == (new_room_id, "readings", SCHEMA)
    receipt.wait("sent", timeout=20)
    assert new.publish_many([full(1), full(3)], job="import").skipped == 1
    assert new.query(on_incomplete="raise").values() == [full(2), full(3)]
    assert uids(raw.records(new_room_id))[0] == receipt.uid
    assert len(raw.records(old)) == 1
    for kind, key in ((COLLECTION, ""), (SCHEMA_TYPE, "1")):
        assert raw.state(new_room_id, kind, key) == raw.state(old, kind, key)
    new.invite(reader, role="reader")
    assert {member.user_id: member.role for member in new.members()}[reader] == "reader"
    assert client.collection("readings").room_id == new_room_id
    assert server.connect(name, store="another").collection("readings").room_id == new_room_id
    past = client.collection(old)
    assert past.query(on_incomplete="raise").values() == [full(1)]
    assert (past.follow_upgrade().room_id, new.follow_upgrade().room_id) == (new_room_id, new_room_id)
    assert sorted(ours(raw, new_room_id)) == [(COLLECTION, ""), (SCHEMA_TYPE, "1")]
    with pytest.raises(md.RoomReplaced, match="follow_upgrade"):
        past.publish(full(4))


FOLLOW = """
import matrixdata as md
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
new = client.collection(sys.argv[4]).follow_upgrade()
print(new.room_id, flush=True)
"""


@fault(
    "F21",
    broken=(
        Break(FOLLOWING, "    for row in rows:\n", "    for row in reversed(rows):\n"),
        Break(
            FOLLOWING,
            '    reached("follow.3 bound")\n',
            '    await services.account.follow(old, new, names=names, items=[])\n    reached("follow.3 bound")\n',
        ),
    ),
)
def test_killed_at_each_step_of_following_the_next_attempt_finishes_it_once(server, name):
    network, raw = server.proxy(), server.raw(name)
    client = server.connect(name, url=network.url)
    old = client.create_collection("readings", schema=SCHEMA, encrypted=False).room_id
    network.down()
    uid = client.collection("readings").publish(full(1), wait="queued").uid
    client.close()
    new_room_id = upgraded(raw, old, "12")
    network.up()
    account = server.account(name)
    given = (network.url, account["user"], str(account["store"]), "readings")
    # The second "state" is after the other of the two pieces.
    for step in ("follow.1 joined", "follow.2 state", "follow.2 state", "follow.3 bound", "follow.4 moved"):
        assert was_killed(run(FOLLOW, *given, kill_at=step)), step
    done = run(FOLLOW, *given)
    assert (done.returncode, done.stdout) == (0, f"{new_room_id}\n"), done.stderr
    readings = server.connect(name, url=network.url).collection("readings")
    assert (readings.room_id, readings.schema) == (new_room_id, SCHEMA)
    wait_until(lambda: uids(raw.records(new_room_id)) == [uid])
    assert readings.query(on_incomplete="raise").values() == [full(1)]
    assert sorted(ours(raw, new_room_id)) == [(COLLECTION, ""), (SCHEMA_TYPE, "1")]
    assert raw.records(old) == []


@fault("F21", broken=Break(FOLLOWING, "and _is_collection(there)", "and False"))
def test_of_several_who_follow_at_once_none_undoes_what_another_did(server, name):
    network, raw = server.proxy(), server.raw(name)
    slow = server.connect(name, url=network.url)
    readings = slow.create_collection("readings", schema=SCHEMA, encrypted=False)
    other = server.connect(server.name("owner"))
    readings.invite(other.user_id, role="owner")
    theirs = other.collection(readings.room_id)
    new_room_id = upgraded(raw, readings.room_id, "12")
    raw.invite(new_room_id, other.user_id)

    def overtake(seen):
        if seen.method == "PUT" and SCHEMA_TYPE in seen.path:
            network.fault = lambda _: None
            assert theirs.follow_upgrade().room_id == new_room_id
            stands = raw.state(new_room_id, COLLECTION)
            assert raw.put_state(new_room_id, COLLECTION, "", {**stands, "name": "better"}).status_code == 200

    network.fault = overtake
    assert readings.follow_upgrade().schema == SCHEMA
    assert raw.state(new_room_id, COLLECTION)["name"] == "better"
    theirs.follow_upgrade().publish(full(1))
    readings.follow_upgrade().publish(full(2))
    assert sorted(readings.follow_upgrade().query(on_incomplete="raise").values(), key=str) == [
        full(1),
        full(2),
    ]
    assert raw.state(new_room_id, COLLECTION)["name"] == "better"


@fault(
    "F21",
    broken=(
        Break(FOLLOWING, "if levels.of(services.user_id) < needed:", "if False:"),
        Break(
            "matrixdata/publishing/drain.py",
            "await self._means.barred(item.room_id, refused=True) or error.errcode",
            "error.errcode",
        ),
    ),
)
def test_who_may_set_no_state_in_the_new_room_is_told_who_has_to_follow_first(server, name):
    owner, raw = server.connect(name), server.raw(name)
    readings = owner.create_collection("readings", schema=SCHEMA, encrypted=False)
    member = server.connect(server.name("member"))
    readings.invite(member.user_id)
    theirs = member.collection(readings.room_id)
    theirs.publish(full(1))  # it only writes, and so does not hear of the upgrade
    new_room_id = upgraded(raw, readings.room_id, "12")
    with pytest.raises(md.RoomReplaced):
        theirs.publish(full(2))
    (entry,) = [each for each in member.outbox.list() if each.state == "stuck"]
    assert entry.reason == "room_replaced"
    with pytest.raises(md.Rejected, match=f"ask {owner.user_id}"):
        theirs.follow_upgrade()
    raw.invite(new_room_id, member.user_id)
    with pytest.raises(md.UpgradePending, match=f"{owner.user_id} has to follow") as pending:
        theirs.follow_upgrade()
    assert (pending.value.new_room_id, pending.value.owners) == (new_room_id, (owner.user_id,))
    assert raw.records(new_room_id) == []
    readings.follow_upgrade()
    new = theirs.follow_upgrade()
    assert new.schema == SCHEMA
    wait_until(lambda: uids(raw.records(new_room_id)) == [entry.uid])
    assert new.query(on_incomplete="raise").values() == [full(2)]


@fault(
    "F21",
    broken=(
        Break(FOLLOWING, "if _predecessor(state) != old:", "if False:"),
        Break(FOLLOWING, "if following in path[:-1]:", "if False:"),
    ),
)
def test_upgrades_that_lead_in_a_circle_or_to_a_room_that_denies_it_are_not_followed(server, name):
    client, raw = server.connect(name), server.raw(name)
    readings = client.create_collection("readings", encrypted=False)
    unrelated = server.raw(server.name("other"))
    elsewhere = unrelated.create_room()
    unrelated.invite(elsewhere, client.user_id)
    closed(raw, readings.room_id, elsewhere)
    with pytest.raises(md.Conflict, match="does not say so of itself"):
        readings.follow_upgrade()
    assert elsewhere not in raw.call("GET", "joined_rooms")["joined_rooms"]
    second = upgraded(raw, readings.room_id, "12")
    closed(raw, second, readings.room_id)
    with pytest.raises(md.Conflict, match="circle") as circle:
        readings.follow_upgrade()
    assert f"{readings.room_id} → {second} → {readings.room_id}" in str(circle.value)
    assert client.collection("readings").room_id == readings.room_id
    assert ours(raw, second) == []


@fault("F21", broken=Break(FOLLOWING, "(room for room in reversed(old) if", "(room for room in old[1:] if"))
def test_several_upgrades_in_a_row_are_followed_to_the_last(server, name):
    client, raw = server.connect(name), server.raw(name)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    second = upgraded(raw, readings.room_id, "12")
    third = upgraded(raw, second, "12")
    new = readings.follow_upgrade()
    assert (new.room_id, new.schema) == (third, SCHEMA)
    assert ours(raw, second) == []
    new.publish(full(1))
    assert client.collection("readings").query(on_incomplete="raise").values() == [full(1)]
