"""Encrypted collections against the real Synapse: what works in clear works the same, and no server reads it."""

from __future__ import annotations

import secrets

import pytest

import matrixdata as md
from tests.e2ee.rooms import reading, sealed, sealed_pair, temps, used
from tests.faults.harness import Break, fault
from tests.servers import RECORD, SCHEMA, Answer, hidden_sliding, wait_until

__all__ = ["sealed_pair"]
SEALING, PIPELINE = "matrixdata/publishing/sealing.py", "matrixdata/receiving/pipeline.py"


def test_what_is_published_encrypted_is_queried_and_subscribed_to(sealed_pair):
    pair = sealed_pair
    assert pair.mine.encrypted
    assert pair.mine.trust == "all"
    with pair.theirs.subscribe(start="all") as heard:
        for number in range(3):
            receipt = pair.mine.publish(reading(number))
            assert receipt.state in {"sent", "synced"}
        assert [next(heard).value["temp"] for _ in range(3)] == [0, 1, 2]
    report = pair.mine.publish_many([reading(number) for number in range(3, 6)])
    assert report.sent == 3
    assert temps(pair.theirs) == temps(pair.mine) == [0, 1, 2, 3, 4, 5]
    here = [event for event in pair.theirs.history() if event.encrypted]
    assert {event.type for event in here} <= {RECORD, "io.matrixdata.batch"}


def test_both_go_on_after_a_restart_and_answer_each_other(sealed_pair):
    pair = sealed_pair
    pair.mine.publish(reading(1))
    assert temps(pair.theirs) == [1]
    accounts = [client.user_id[1:].split(":")[0] for client in (pair.writer, pair.reader)]
    pair.reader.close()
    pair.mine.publish(reading(2))
    pair.writer.close()
    writer, reader = map(pair.server.connect, accounts)
    theirs = reader.collection(pair.room_id)
    assert theirs.trust == "all"
    theirs.publish(reading(3))
    mine = writer.collection("greenhouse")
    mine.publish(reading(4))
    assert temps(mine) == temps(theirs) == [1, 2, 3, 4]
    assert len({used(event) for event in sealed(pair.raw(writer), pair.room_id)}) == 4


def test_over_sync_v2_as_over_sliding_sync(server):
    network = server.proxy()
    network.fault = hidden_sliding
    writer, reader = (server.connect(server.name(who), url=network.url) for who in ("writer", "reader"))
    mine = writer.create_collection("x", schema=SCHEMA, trust="all", invite=[reader.user_id])
    theirs = reader.collection(mine.room_id, trust="all")
    mine.publish(reading(1))
    assert temps(theirs) == [1]
    theirs.publish(reading(2))
    assert temps(mine) == [1, 2]


def test_a_publisher_that_never_syncs_reaches_everybody(server):
    name, network = server.name("writer"), server.proxy()
    with server.connect(name, url=network.url) as writer:
        reader = server.connect(server.name("reader"))
        mine = writer.create_collection("x", schema=SCHEMA, trust="all", invite=[reader.user_id])
        theirs = reader.collection(mine.room_id, trust="all")
    network.seen.clear()
    with server.connect(name, url=network.url) as again:
        again.collection("x").publish(reading(1))
    assert [seen.path for seen in network.seen if seen.is_sync] == []
    assert temps(theirs) == [1]


@fault("T-A12", broken=Break(SEALING, 'if error.errcode != "M_NOT_FOUND":', "if False:"))
def test_nothing_is_sent_in_clear_while_nobody_knows_whether_the_room_is_encrypted(server):
    name, network = server.name("writer"), server.proxy()
    with server.connect(name, url=network.url) as client:
        client.create_collection("x", schema=SCHEMA, encrypted=False)
    refused = Answer(403, b'{"errcode":"M_FORBIDDEN","error":"not now"}')
    network.fault = lambda seen: refused if "m.room.encryption" in seen.path else None
    client = server.connect(name, url=network.url)
    with pytest.raises(md.Rejected):
        client.collection("x").publish(reading(1))
    assert [seen for seen in network.seen if seen.is_send] == []


@fault("T-A12", broken=Break(SEALING, "if not await self._is_encrypted(room_id):\n", "if True:\n"))
def test_a_room_that_was_encrypted_stays_so_whatever_the_server_says(server):
    name, network = server.name("writer"), server.proxy()
    with server.connect(name, url=network.url) as client:
        room_id = client.create_collection("x", schema=SCHEMA, trust="all").room_id
    gone = Answer(404, b'{"errcode":"M_NOT_FOUND","error":"no such state"}')
    network.fault = lambda seen: gone if "m.room.encryption" in seen.path else None
    with server.connect(name, url=network.url) as client:
        client.collection("x").publish(reading(1))
    raw = server.raw(name)
    assert raw.records(room_id) == []
    assert len(sealed(raw, room_id)) == 1


@fault("T-A3", broken=Break(PIPELINE, "if rules.requires_encryption and not row.sealed:", "if False:"))
def test_what_comes_in_clear_is_no_record_unless_one_trusts_the_servers(sealed_pair):
    pair = sealed_pair
    pair.theirs.set_trust("cross-signed")
    forged = {"v": 1, "uid": "f1", "value": reading(666)}
    pair.raw(pair.writer).send(pair.room_id, forged)
    wait_until(lambda: len(pair.theirs.invalid()) == 1)
    (listed,) = pair.theirs.invalid()
    assert "not encrypted" in str(listed.problems[0])
    assert temps(pair.theirs, on_incomplete="ignore") == []


def test_a_fresh_device_says_why_it_cannot_read_and_is_given_what_comes_then(sealed_pair, server):
    pair = sealed_pair
    pair.mine.publish(reading(1))
    assert temps(pair.mine) == [1]  # from now on it hears of new devices
    name = pair.reader.user_id[1:].split(":")[0]
    other = server.connect(name, store="another").collection(pair.room_id, trust="all")
    with pytest.raises(md.Incomplete, match=r"no_key|withheld"):
        other.query(timeout=20, on_incomplete="raise").records()
    query = other.query(timeout=20, on_incomplete="ignore")
    query.records()
    assert sum(query.completeness.causes.values()) == query.completeness.undecryptable == 1
    (lost,) = [event for event in other.history() if event.row_state == "undecryptable"]
    assert lost.cause in {"no_key", "withheld"}
    assert lost.detail

    def is_read():
        pair.mine.publish(reading(2))
        return 2 in temps(other, on_incomplete="ignore")

    wait_until(is_read)


@fault(
    "F33",
    broken=Break(
        "matrixdata/receiving/late.py",
        "for session in received.sessions:",
        "for session in ():",
    ),
)
@pytest.mark.parametrize("away", [False, True], ids=["live", "after a restart"])
def test_a_key_that_comes_late_makes_records_of_what_could_not_be_read(server, away):
    network, held = server.proxy(), []

    def hold(seen):
        if "/sendToDevice/m.room.encrypted/" in seen.path:
            held.append(seen)
            return Answer(200, b"{}")
        return None

    name, reading_name = server.name("writer"), server.name("reader")
    writer, reader = server.connect(name, url=network.url), server.connect(reading_name)
    mine = writer.create_collection("x", schema=SCHEMA, trust="all", invite=[reader.user_id])
    theirs = reader.collection(mine.room_id, trust="all")
    network.fault = hold
    with theirs.subscribe() as heard:
        for number in range(3):
            mine.publish(reading(number))
        wait_until(
            lambda: theirs.query(on_incomplete="ignore").count() == 0 and len(undecryptable(theirs)) == 3
        )
        if not away:
            deliver(server.raw(name), held)
            assert [next(heard).value["temp"] for _ in range(3)] == [0, 1, 2]
    if away:
        reader.close()
        deliver(server.raw(name), held)
        theirs = server.connect(reading_name).collection(mine.room_id)
    wait_until(lambda: temps(theirs, on_incomplete="ignore") == [0, 1, 2])
    assert theirs.query(on_incomplete="raise").count() == 3


def undecryptable(collection):
    return [event for event in collection.history() if event.row_state == "undecryptable"]


def deliver(raw, held):
    for seen in held:
        answer = raw.http.request(seen.method, seen.path, content=seen.body)
        assert answer.status_code == 200, answer.text


@fault(
    "P8",
    broken=Break(
        SEALING, "return Wire(ENCRYPTED, encrypted.content)", "return Wire(item.type, item.content)"
    ),
)
def test_a_canary_is_found_nowhere_on_the_server(sealed_pair):
    pair, canary = sealed_pair, f"canary{secrets.token_hex(8)}"
    pair.mine.publish({"device": canary, "temp": 1})
    assert [record.value["device"] for record in pair.theirs.query(timeout=20).records()] == [canary]
    places = [path for path in pair.server.address.directory.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in places)
    assert [path for path in places if canary.encode() in path.read_bytes()] == []


def test_a_redacted_record_leaves_and_what_is_too_large_encrypted_is_refused_at_once(sealed_pair):
    pair = sealed_pair
    kept, gone = pair.mine.publish(reading(1)), pair.mine.publish(reading(2))
    assert temps(pair.theirs) == [1, 2]
    pair.raw(pair.writer).redact(pair.room_id, gone.event_id)
    wait_until(lambda: temps(pair.theirs) == [1])
    assert kept.event_id != gone.event_id
    with pytest.raises(md.TooLarge):
        pair.mine.publish({"device": "x" * 50_000, "temp": 1})
    pair.mine.publish({"device": "x" * 40_000, "temp": 3})
    assert temps(pair.theirs) == [1, 3]


def test_an_upgraded_room_stays_encrypted_for_whoever_follows_and_trusts_the_same(sealed_pair):
    pair = sealed_pair
    pair.mine.publish(reading(1))
    assert temps(pair.mine) == [1]
    raw = pair.raw(pair.writer)
    new = raw.call("POST", f"rooms/{pair.room_id}/upgrade", {"new_version": "12"})["replacement_room"]
    with pytest.raises(md.RoomReplaced):
        wait_until(lambda: pair.mine.publish(reading(2)) is None)
    moved = pair.mine.follow_upgrade()
    assert (moved.room_id, moved.encrypted, moved.trust) == (new, True, "all")
    moved.publish(reading(3))
    assert raw.records(new) == []
    assert len(sealed(raw, new)) == 1


def test_opening_with_another_trust_leaves_the_list_of_members_as_it_is(server):
    client = server.connect(server.name("owner"))
    made = client.create_collection("x", schema=SCHEMA, trust="verified", members=[client.user_id])
    assert client.collection("x", trust="all").trust == "all"
    policy = client._portal.call(client._client._services.keys.read, lambda e, c: e.policy(c, made.room_id))
    assert (policy.policy, policy.members) == ("all", {client.user_id})
