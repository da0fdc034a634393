"""Whatever others put into a room: good records arrive, bad ones are listed with reasons, nothing raises."""

from __future__ import annotations

import json

import pytest

import matrixdata as md
from matrixdata.protocol.content import schema_hash
from tests.faults.harness import Break, fault
from tests.servers import RECORD, SCHEMA, wait_until

pytestmark = pytest.mark.server

COLLECTION, SCHEMA_EVENT = "io.matrixdata.collection", "io.matrixdata.schema"


@pytest.fixture
def raw(pair):
    return pair.raw(pair.writer)


@pytest.fixture
def named(pair, raw):
    """The content hash of the schema in force."""
    return raw.state(pair.room_id, COLLECTION)["schema"]["hash"]


def good(named, number, **more):
    return {"v": 1, "uid": f"u{number}", "schema": named, "value": {"device": "d", "temp": number}, **more}


def without(content, key):
    return {k: v for k, v in content.items() if k != key}


BAD = {
    "no version": (lambda good: without(good, "v"), "version"),
    "another version": (lambda good: {**good, "v": 2}, "version"),
    "no uid": (lambda good: without(good, "uid"), "name"),
    "uid is no text": (lambda good: {**good, "uid": 7}, "name"),
    "uid is too long": (lambda good: {**good, "uid": "u" * 256}, "name"),
    "no value": (lambda good: without(good, "value"), "type"),
    "value is a list": (lambda good: {**good, "value": [1]}, "type"),
    "numbers is no list": (lambda good: {**good, "numbers": {"/temp": 1}}, None),
    "numbers is no number": (
        lambda good: {**good, "value": {"device": "d", "temp": "1e999"}, "numbers": ["/temp"]},
        None,
    ),
    "against the schema": (lambda good: {**good, "value": {"device": "d", "temp": "hot"}}, "type"),
    "unknown schema": (lambda good: {**good, "schema": schema_hash("{}")}, "schema"),
    "no hash for a schema": (lambda good: {**good, "schema": "v1"}, "hash"),
    "no schema": (lambda good: without(good, "schema"), "schema"),
    "empty": (lambda _: {}, "version"),
}


@fault(
    "B24",
    broken=Break(
        "matrixdata/receiving/pipeline.py",
        "    if problems:\n        return _invalid",
        "    if 0:\n        return _invalid",
    ),
)
def test_every_bad_record_is_listed_with_its_reason_and_costs_no_good_one(pair, raw, named):
    expected = {}
    with pair.theirs.subscribe() as sub:
        for number, (name, (spoil, rule)) in enumerate(BAD.items()):
            expected[raw.send(pair.room_id, spoil(good(named, number)))] = (name, rule)
        future = raw.send(pair.room_id, {"v": 9, "what": "ever"}, "io.matrixdata.future")
        expected[future] = ("a type of the future", "version")
        raw.send(pair.room_id, good(named, 100))
        assert sub.get(timeout=10).value == {"device": "d", "temp": 100}
        with pytest.raises(TimeoutError):
            sub.get(timeout=0.1)
    found = {each.event_id: each for each in pair.theirs.invalid()}
    assert list(found) == list(expected)
    for event_id, (name, rule) in expected.items():
        rules = {problem.rule for problem in found[event_id].problems}
        assert rules, name
        assert all(problem.message for problem in found[event_id].problems), name
        assert rule is None or rule in rules, (name, found[event_id].problems)
    query = pair.theirs.query()
    assert query.values() == [{"device": "d", "temp": 100}]
    assert query.completeness.invalid == len(expected)
    assert pair.reader.status().invalid == len(expected)
    states = {
        event.event_id: event.row_state
        for event in pair.theirs.history()
        if event.type.startswith("io.matrix")
    }
    assert {state for event_id, state in states.items() if event_id in expected} == {"invalid"}
    (hot,) = (each for each in found.values() if expected[each.event_id][0] == "against the schema")
    assert [(problem.pointer, problem.rule) for problem in hot.problems] == [("/temp", "type")]
    assert (hot.sender, hot.content["value"]["temp"]) == (raw.user_id, "hot")


@fault(
    "T-B5",
    broken=Break("matrixdata/collection/creation.py", 'else "private_chat"', 'else "trusted_private_chat"'),
)
def test_a_schema_from_someone_without_the_power_is_refused_by_the_server(pair):
    guest = pair.raw(pair.reader)
    text = json.dumps({"type": "object"})
    content = {"v": 1, "schema": text, "hash": schema_hash(text)}
    assert guest.put_state(pair.room_id, SCHEMA_EVENT, "2", content).status_code == 403
    assert guest.put_state(pair.room_id, COLLECTION, "", {"v": 1}).status_code == 403


def schema_event(raw, pair, version, schema):
    """A schema put by its owner with the fields that the first one has."""
    text = json.dumps(schema)
    content = {**raw.state(pair.room_id, SCHEMA_EVENT, "1"), "schema": text, "hash": schema_hash(text)}
    assert raw.put_state(pair.room_id, SCHEMA_EVENT, version, content).status_code == 200
    return schema_hash(text)


def test_records_that_wait_for_their_schema_become_valid_when_it_arrives_and_are_delivered_once(
    pair, raw, named
):
    other = {"type": "object", "required": ["pressure"]}
    waiting = {"v": 1, "uid": "w", "schema": schema_hash(json.dumps(other)), "value": {"pressure": 1000}}
    with pair.theirs.subscribe() as sub:
        raw.send(pair.room_id, waiting)
        raw.send(pair.room_id, good(named, 1))
        assert sub.get(timeout=10).uid == "u1"
        assert [each.problems[0].rule for each in pair.theirs.invalid()] == ["schema"]
        here = sub.get
        schema_event(raw, pair, "2", other)
        record = here(timeout=10)
        assert (record.uid, record.value) == ("w", {"pressure": 1000})
        raw.send(pair.room_id, good(named, 2))
        assert sub.get(timeout=10).uid == "u2"
    assert pair.theirs.invalid() == []
    assert [record.uid for record in pair.theirs.query()] == ["w", "u1", "u2"]
    # One who comes later, and one who reads the feed from its beginning, meet it once.
    with pair.theirs.subscribe(start=md.Position(0)) as sub:
        assert [sub.get(timeout=10).uid for _ in range(3)] == ["u1", "w", "u2"]
        with pytest.raises(TimeoutError):
            sub.get(timeout=0.1)


def test_a_crash_between_new_rules_and_new_verdicts_is_made_good_by_the_next_client(pair, raw, monkeypatch):
    from matrixdata.replica.rooms import Rooms

    other = {"type": "object", "required": ["pressure"]}
    waiting = {"v": 1, "uid": "w", "schema": schema_hash(json.dumps(other)), "value": {"pressure": 1000}}
    raw.send(pair.room_id, waiting)
    assert pair.theirs.query().count() == 0

    async def lost(*_, **__):
        pass

    with monkeypatch.context() as crash:
        crash.setattr(Rooms, "rejudge", lost)
        schema_event(raw, pair, "2", other)
        assert pair.theirs.query().count() == 0
        pair.reader.close()
    again = pair.server.connect(pair.reader.user_id[1:].split(":")[0]).collection(pair.room_id)
    assert again.query().count() == 1


def test_a_schema_put_in_force_later_is_what_new_records_are_checked_against(pair, raw):
    pair.mine.query().count()
    new = {"type": "object", "required": ["pressure"]}
    reference = {"version": "2", "hash": schema_event(raw, pair, "2", new)}
    collection = {**raw.state(pair.room_id, COLLECTION), "schema": reference}
    assert raw.put_state(pair.room_id, COLLECTION, "", collection).status_code == 200
    wait_until(lambda: pair.mine.schema == new)
    with pytest.raises(md.RecordInvalid):
        pair.mine.publish({"device": "d", "temp": 1})
    pair.mine.publish({"pressure": 1})
    assert pair.theirs.query().values() == [{"pressure": 1}]


def test_a_redacted_schema_no_longer_stands_for_anyone(pair, raw, named):
    raw.send(pair.room_id, good(named, 1))
    assert pair.theirs.query().count() == 1
    schema_id = next(
        event["event_id"] for event in raw.timeline(pair.room_id) if event["type"] == SCHEMA_EVENT
    )
    raw.redact(pair.room_id, schema_id)
    wait_until(lambda: len(pair.theirs.invalid()) == 1)
    assert pair.theirs.query().count() == 0
    name = pair.server.name()
    raw.invite(pair.room_id, pair.server.user_id(name))
    fresh = pair.server.connect(name).collection(pair.room_id)
    assert (fresh.query().count(), len(fresh.invalid())) == (0, 1)


def test_state_that_is_malformed_makes_no_rules_and_raises_nothing(pair, raw, named):
    assert raw.put_state(pair.room_id, SCHEMA_EVENT, "9", {"v": "?", "schema": 5}).status_code == 200
    assert raw.put_state(pair.room_id, SCHEMA_EVENT, "8", {"v": 1}).status_code == 200
    hostile = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/x"}}}
    bad = schema_event(raw, pair, "7", hostile)
    raw.send(pair.room_id, good(bad, 1))
    raw.send(pair.room_id, good(named, 2))
    assert [record.uid for record in pair.theirs.query()] == ["u2"]
    (listed,) = pair.theirs.invalid()
    assert "cannot be used" in listed.problems[0].message


# --- one row for each sender and uid -----------------------------------------------------------------


def test_the_same_record_counts_in_replicas_that_saw_its_two_events_in_different_orders(pair, raw, named):
    pair.theirs.query().count()
    first = raw.send(pair.room_id, good(named, 1, uid="twice"))
    second = raw.send(pair.room_id, {**good(named, 2), "uid": "twice"})
    guest = pair.raw(pair.reader)
    other = guest.send(pair.room_id, {**good(named, 3), "uid": "twice"})
    expected = [min(first, second), other]
    assert sorted(record.event_id for record in pair.theirs.query()) == sorted(expected)
    for order in ("-time", "time", None):
        assert sorted(r.event_id for r in pair.mine.query(order=order)) == sorted(expected)
    with pair.theirs.subscribe(start="all") as sub:
        assert sorted(sub.get(timeout=10).event_id for _ in expected) == sorted(expected)
        with pytest.raises(TimeoutError):
            sub.get(timeout=0.1)
    # The other order: the second event live, the first one fetched later.
    raw.redact(pair.room_id, min(first, second))
    wait_until(lambda: max(first, second) in [record.event_id for record in pair.theirs.query()])
    assert sorted(record.event_id for record in pair.theirs.query()) == sorted([max(first, second), other])


# --- redaction ---------------------------------------------------------------------------------------


def test_a_redacted_record_is_gone_from_queries_frames_and_every_byte_on_disk(pair, raw, named):
    canary = "canary-5d1e"
    value = {"device": canary, "temp": 1}
    event_id = raw.send(pair.room_id, {**good(named, 1), "value": value})
    assert pair.theirs.query().values() == [value]
    raw.redact(pair.room_id, event_id)
    wait_until(lambda: pair.theirs.query().values() == [])
    (event,) = (each for each in pair.theirs.history() if each.event_id == event_id)
    assert (event.row_state, event.content, event.type) == ("redacted", None, RECORD)
    assert pair.theirs.invalid() == []
    assert len(pair.theirs.query().to_pandas()) == 0
    pair.reader.close()
    store = pair.server.place / pair.reader.user_id[1:].split(":")[0]
    holding = [path.name for path in store.iterdir() if canary.encode() in path.read_bytes()]
    assert holding == []


def test_what_was_redacted_before_it_was_fetched_is_a_tombstone(pair, raw, named):
    event_id = raw.send(pair.room_id, good(named, 1))
    raw.redact(pair.room_id, event_id)
    states = {event.event_id: event.row_state for event in pair.theirs.history()}
    assert states[event_id] == "redacted"
    assert pair.theirs.query().count() == 0


def test_schemas_and_records_of_a_plain_room_need_no_schema(server):
    raw = server.raw(server.name())
    room_id = raw.create_room()
    client = server.connect(raw.user_id[1:].split(":")[0])
    raw.send(room_id, {"v": 1, "uid": "a", "value": {"x": 1}})
    raw.send(room_id, {"v": 1, "uid": "b", "schema": schema_hash(json.dumps(SCHEMA)), "value": {"x": 1}})
    collection = client.collection(room_id)
    assert [record.uid for record in collection.query()] == ["a"]
    assert len(collection.invalid()) == 1


def test_what_becomes_valid_later_enters_no_frozen_result_and_comes_to_a_subscription_once(pair, raw, named):
    other = {"type": "object", "required": ["pressure"]}
    waiting = {"v": 1, "uid": "w", "schema": schema_hash(json.dumps(other)), "value": {"pressure": 1000}}

    def as_of(position):
        return [record.uid for record in pair.theirs.query(as_of=position)]

    with pair.theirs.subscribe() as sub, pair.theirs.subscribe(start=md.Position(0)) as slow:
        raw.send(pair.room_id, waiting)
        raw.send(pair.room_id, good(named, 1))
        before = sub.get(timeout=10).position
        assert as_of(before) == ["u1"]
        schema_event(raw, pair, "2", other)
        valid = sub.get(timeout=10)
        assert (valid.uid, as_of(before), as_of(valid.position)) == ("w", ["u1"], ["w", "u1"])
        assert [record.uid for record in pair.theirs.query(since=before)] == ["w"]
        # The schema goes, and the record with it; when it comes back, nobody hears of the record again.
        schema_event(raw, pair, "2", {"type": "object"})
        raw.send(pair.room_id, good(named, 2))
        between = sub.get(timeout=10)
        assert (between.uid, as_of(between.position)) == ("u2", ["u1", "u2"])
        assert slow.get(timeout=10).uid == "u1"  # it reads past `w` at a time when that is not valid
        assert slow.get(timeout=10).uid == "u2"
        schema_event(raw, pair, "2", other)
        wait_until(lambda: pair.theirs.query(timeout=10).count() == 3)
        raw.send(pair.room_id, good(named, 3))
        assert sub.get(timeout=10).uid == "u3"
        assert [slow.get(timeout=10).uid for _ in range(2)] == ["w", "u3"]
    assert [as_of(each) for each in (before, valid.position, between.position)] == [
        ["u1"],
        ["w", "u1"],
        ["u1", "u2"],
    ]
    with pair.theirs.subscribe(start=md.Position(0)) as late:
        assert sorted(late.get(timeout=10).uid for _ in range(4)) == ["u1", "u2", "u3", "w"]
        with pytest.raises(TimeoutError):
            late.get(timeout=0.1)
