"""What a hostile server, or a member it lets through, puts into answers: kept with a reason, and nothing raises.

The homeserver is real; its answers are rewritten on the way.
"""

from __future__ import annotations

import json

import pytest

import matrixdata as md
from tests.faults.harness import Break, fault
from tests.security.rewriting import replacing
from tests.servers import Answer, encoded, wait_until

pytestmark = pytest.mark.server

EVENTS = "matrixdata/protocol/events.py"
SYNC = "matrixdata/protocol/sync.py"
RECORDS = "matrixdata/receiving/records.py"
ROLES = "matrixdata/collection/roles.py"


@pytest.fixture
def network(server):
    return server.proxy()


@pytest.fixture
def room(server, network):
    """A room of a stranger, and a client behind the rewriting network who is invited."""
    raw, client = server.raw(server.name("stranger")), server.connect(server.name("reader"), url=network.url)
    room_id = raw.create_room()
    raw.invite(room_id, client.user_id)
    return raw, client, room_id


def record(uid, **value):
    return {"v": 1, "uid": uid, "value": {"n": 1, **value}}


TYPED = b'"type":"io.matrixdata.record"'
SENT = b'"sender":"@a:b","origin_server_ts":1'
VALUE = b',"content":{"v":1,"uid":"x","value":{"a":%s}}'
EMPTY = b',"content":{}'


def at(time):
    return b'"type":"t","sender":"@a:b","origin_server_ts":' + time + EMPTY


# The members of an event beside its id.
BAD = {
    "content is a list": TYPED + b"," + SENT + b',"content":[1]',
    "content is null": TYPED + b"," + SENT + b',"content":null',
    "content is text": TYPED + b"," + SENT + b',"content":"{}"',
    "no content": TYPED + b"," + SENT,
    "sender is a number": TYPED + b',"sender":5,"origin_server_ts":1' + EMPTY,
    "no sender": TYPED + b',"origin_server_ts":1' + EMPTY,
    "no type": SENT + EMPTY,
    "type is a list": b'"type":["x"],' + SENT + EMPTY,
    "a type of a million letters": b'"type":"' + b"t" * 10**6 + b'",' + SENT + EMPTY,
    "a kind that commands a terminal": b'"type":"io.matrixdata.\\u001b[2J",' + SENT + EMPTY,
    "state key is a number": TYPED + b"," + SENT + b',"state_key":1' + EMPTY,
    "unsigned is a list": TYPED + b"," + SENT + b',"unsigned":[]' + EMPTY,
    "time is text": at(b'"1"'),
    "time beyond 64 bits": at(b"9223372036854775808"),
    "time before the first year": at(b"-9223372036854775808"),
    "time of 5,000 digits": at(b"9" * 5000),
    "time is infinite": at(b"1e999"),
    "bytes that are not UTF-8": TYPED + b"," + SENT + VALUE % b'"\xff\xed\xa0\x80"',
    "an event of another kind that is not UTF-8": b'"type":"t",' + SENT + b',"content":{"a":"\xff"}',
    "a number of 5,000 digits": TYPED + b"," + SENT + VALUE % (b"9" * 5000),
    "an infinite number": TYPED + b"," + SENT + VALUE % b"1e999",
    "a float that no server lets pass": TYPED + b"," + SENT + VALUE % b"1.5",
    "500 levels": TYPED + b"," + SENT + VALUE % (b"[" * 500 + b"]" * 500),
}


@fault(
    "B5", "B8", "B12", "B22", "B24", "T-C",
    broken=(
        Break(EVENTS, "found = members(raw)", "found = {}"),
        Break(EVENTS, "if not _is_utf8(content):", "if False:"),
        Break("matrixdata/model/problem.py", "{safe_text(self.message)}", "{self.message}"),
        Break(RECORDS, "(msgspec.MsgspecError, UnicodeDecodeError, RecursionError)", "KeyError"),
    ),
)  # fmt: skip
def test_a_malformed_event_is_quarantined_with_a_reason_and_costs_no_other(room, network):
    raw, client, room_id = room
    theirs = client.collection(room_id)
    sent = {}

    def chosen(event):
        name = event["content"].get("uid")
        if name not in BAD:
            return None
        return b'{"event_id":' + json.dumps(event["event_id"]).encode() + b"," + BAD[name] + b"}"

    network.fault = replacing(chosen)
    with theirs.subscribe() as sub:
        raw.send(room_id, record("first"))
        for name in BAD:
            sent[raw.send(room_id, record(name))] = name
        raw.send(room_id, record("last"))
        assert [sub.get(timeout=10).uid for _ in range(2)] == ["first", "last"]
    found = {each.event_id: each for each in theirs.invalid()}
    assert {sent[event_id] for event_id in found} == set(BAD)
    assert all(problem.message for each in found.values() for problem in each.problems)
    assert all(str(problem).isprintable() for each in found.values() for problem in each.problems)
    assert [each.uid for each in theirs.query()] == ["first", "last"]
    assert theirs.query().completeness.invalid == len(BAD)
    for each in (*found.values(), theirs.invalid(), theirs):
        assert len(repr(each)) + len(each._repr_html_()) < 200_000
    states = {each.event_id: each.row_state for each in theirs.history()}
    assert {states[event_id] for event_id in sent} == {"invalid"}
    theirs.history().to_pandas()


HOSTILE_STATE = {
    "m.room.power_levels": [
        {"users": {"@a:b": "100"}, "events_default": "0", "state_default": None},
        {"users": [1], "users_default": -(2**63), "events": "x", "state_default": 10**4000},
        {"users_default": True},
    ],
    "m.room.join_rules": [{"join_rule": "surprise"}, {"join_rule": 5, "allow": "x"}, {}],
    "m.room.create": [{"room_version": "9" * 5000}, {"room_version": 12}, {"additional_creators": 5}],
    "m.room.member": [{"membership": 5, "displayname": []}, {"membership": "x" * 10_000}, {}],
    "m.room.encryption": [{"algorithm": 5}, {}, {"rotation_period_ms": -1}],
    "m.room.tombstone": [{"replacement_room": 5}, {}, {"replacement_room": "not a room"}],
    "m.room.name": [{"name": {}}, {"name": "\x1b[2J"}, {}],
    "io.matrixdata.collection": [{"v": 1, "name": 5}, {"v": "1"}, {"v": 1, "name": "x", "uid": "y", "time": 7}],
    "io.matrixdata.schema": [{"v": 1, "schema": 5}, {"v": 1, "schema": "{", "hash": "x"}, {}],
}  # fmt: skip


@fault("B22", "T-C", broken=Break(ROLES, "or len(version) > 4 or", "or"))
@pytest.mark.parametrize("number", range(3))
def test_malformed_state_makes_no_rules_and_no_call_raises(room, network, number):
    raw, client, room_id = room

    def chosen(event):
        if event.get("type") not in HOSTILE_STATE or event.get("state_key") == client.user_id:
            return None
        return json.dumps({**event, "content": HOSTILE_STATE[event["type"]][number]}).encode()

    for name in ("m.room.tombstone", "m.room.name", "io.matrixdata.collection", "io.matrixdata.schema"):
        assert raw.put_state(
            room_id, name, "", {"name": "x", "replacement_room": "!other:example.org"}
        ).is_success
    network.fault = replacing(chosen)
    theirs = client.collection(room_id)
    raw.send(room_id, record("a"))
    assert [each.uid for each in theirs.query()] == ["a"]
    assert len(theirs.members().to_pandas()) == 2
    assert len(theirs.state().to_pandas()) >= len(HOSTILE_STATE) - 1
    for thing in (theirs, client, client.collections(), theirs.invalid(), client.status()):
        assert repr(thing).isprintable() or "\n" in repr(thing)
        thing._repr_html_()


INVITES = [
    {"invite_state": "x"},
    {"invite_state": [5, None, [], {"type": 5, "content": []}, {"type": "m.room.name", "content": {"name": 5}}]},
    {"invite_state": [{"type": "m.room.member", "state_key": "@me", "sender": {"a": 1}, "content": {}}]},
    "room",
    None,
]  # fmt: skip


@fault(
    "T-C",
    broken=Break(
        "matrixdata/collection/directory.py",
        'content = event.get("content") if isinstance(event, dict) else None',
        'content = event.get("content")',
    ),
)
@pytest.mark.parametrize("invite", INVITES)
def test_malformed_invites_cost_no_other_and_raise_nothing(room, network, invite):
    _, client, room_id = room

    def edit(content):
        answer = json.loads(content)
        answer["rooms"]["!evil:example.org"] = invite
        return json.dumps(answer).encode()

    wait_until(client.invites)
    network.fault = lambda seen: edit if seen.is_sync else None
    found = client.invites()
    assert room_id in [each.room_id for each in found]
    for each in found:
        assert len(repr(each)) < 500
        each._repr_html_()
    network.fault = lambda seen: Answer(200, b'{"pos": "1", "rooms": [1]}') if seen.is_sync else None
    assert client.invites() == []


MANY = 10_000


@fault("T-B7", broken=Break("matrixdata/transport/http.py", "100 * 1024 * 1024", "1024 * 1024"))
def test_floods_of_members_and_of_event_types_are_taken_in_and_counted(room, network):
    raw, client, room_id = room
    theirs = client.collection(room_id)
    seen_before = []

    def flood(content):
        answer = json.loads(content)
        here = answer.get("rooms", {}).get(room_id)
        if here and here.get("timeline") and not seen_before:
            seen_before.append(True)
            common = {"sender": raw.user_id, "origin_server_ts": 1}
            here["required_state"] = [
                {
                    "type": "m.room.member",
                    "state_key": f"@m{n}:x",
                    "event_id": f"$m{n}",
                    "content": {"membership": "join", "displayname": "x" * 100},
                    **common,
                }
                for n in range(MANY)
            ]
            here["timeline"][:0] = [
                {"type": f"type.{n}", "event_id": f"$t{n}", "content": {"n": n}, **common}
                for n in range(MANY)
            ]
        return json.dumps(answer).encode()

    network.fault = lambda seen: flood if seen.is_sync and b"matrixdata-invites" not in seen.body else None
    raw.send(room_id, record("a"))
    assert [each.uid for each in theirs.query(timeout=60)] == ["a"]
    assert seen_before
    refusal = Answer(403, b'{"errcode": "M_FORBIDDEN"}')
    network.fault = lambda seen: refusal if seen.path.endswith("/state") else None
    assert len(theirs.members().records()) > MANY
    assert len({each.type for each in theirs.history()}) > MANY
    assert len(repr(theirs)) + len(theirs._repr_html_()) < 20_000


def test_rooms_that_replace_each_other_in_a_ring_open_and_answer(server):
    raw = server.raw(server.name("ring"))
    client = server.connect(raw.user_id[1:].split(":")[0])
    rooms = [raw.create_room() for _ in range(3)]
    for here, there in zip(rooms, rooms[1:] + rooms[:1], strict=True):
        raw.put_state(here, "m.room.tombstone", "", {"body": "moved", "replacement_room": there})
    raw.put_state(rooms[0], "m.room.tombstone", "", {"body": "moved", "replacement_room": rooms[0]})
    for room_id in rooms:
        collection = client.collection(room_id)
        raw.send(room_id, record("a"))
        assert [each.uid for each in collection.query()] == ["a"]
    assert client.status().connected


REFUSED_ANSWERS = {
    "100,000 levels": b'{"pos":"1","rooms":{"!x:y":{"timeline":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}}}",
    "a token of 10 MB": b'{"pos":"' + b"x" * 10_000_000 + b'"}',
    "a number for a token": b'{"pos":' + b"9" * 5000 + b"}",
    "a byte order mark": b'\xef\xbb\xbf{"pos":"1"}',
    "half a surrogate pair": b'{"pos":"\\ud800"}',
    "bytes that are not UTF-8": b'{"pos":"\xff"}',
    "NaN": b'{"pos":"1","rooms":NaN}',
    "rooms as a list": b'{"pos":"1","rooms":[]}',
    "an array": b"[]",
    "nothing": b"",
    "HTML": b"<html></html>",
}


@fault(
    "B8", "B12", "T-A", "T-C",
    broken=(
        Break(SYNC, "msgspec.Meta(max_length=4096)", "msgspec.Meta(max_length=40_960_000)"),
        Break(SYNC, "except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)", "except msgspec.DecodeError"),
    ),
)  # fmt: skip
def test_an_unreadable_sync_answer_is_a_stated_problem_until_the_server_is_well_again(room, network):
    raw, client, room_id = room
    theirs = client.collection(room_id)
    assert theirs.query().count() == 0
    for number, (name, body) in enumerate(REFUSED_ANSWERS.items()):
        network.fault = lambda seen, body=body: Answer(200, body) if seen.is_sync else None
        raw.send(room_id, record(f"u{number}"))
        problem = wait_until(lambda: client.status().problem)
        assert len(problem) < 500, name
        network.fault = lambda _: None
        wait_until(lambda number=number: theirs.query().count() == number + 1)
        wait_until(lambda: client.status().connected)
    size = sum(file.stat().st_size for file in (client_store(client)).iterdir())
    assert size < 5_000_000


def client_store(client):
    return client._client._store.directory


@fault(
    "B9",
    broken=Break(
        "matrixdata/receiving/pipeline.py", "value=msgspec.json.encode(content.value)", "value=row.content"
    ),
)
def test_of_a_key_that_comes_twice_the_last_counts_everywhere_alike(room, network):
    raw, client, room_id = room
    theirs = client.collection(room_id)

    def chosen(event):
        if event.get("content", {}).get("uid") != "twice":
            return None
        text = json.dumps(event)
        return text.replace('"n": 1', '"n": 1, "n": 2').encode()

    network.fault = replacing(chosen)
    raw.send(room_id, record("twice"))
    assert theirs.query({"n": 2}).values() == [{"n": 2}]
    assert theirs.query("n = 2").values() == [{"n": 2}]
    assert theirs.query({"n": 1}).values() == theirs.query("n = 1").values() == []
    assert list(theirs.query().to_pandas()["n"]) == [2]


@fault("T-B6", broken=Break("matrixdata/protocol/requests.py", 'return quote(text, safe="")', "return text"))
def test_ids_that_climb_out_of_their_path_reach_nothing_else(room, network):
    _, client, _ = room
    name, before = client.user_id.partition(":")[2], len(network.seen)
    for room_id in (
        "!../../../_synapse/admin/v1/users",
        "!x/../../y:z",
        f"#../../logout:{name}",
        "!x?access_token=y#z",
    ):
        with pytest.raises(md.MatrixDataError):
            client.collection(room_id)
    paths = [seen.path for seen in network.seen[before:] if not seen.is_sync]
    assert paths
    allowed = (encoded("join"), encoded("rooms"), f"{encoded('directory')}/room")
    for path in paths:
        rest = path.removeprefix("/_matrix/client/v3/")
        assert rest.startswith(allowed), path
        assert "/../" not in path
        assert "?access" not in path


NO_ANSWERS = [
    b'{"event_id":"\xff"}',
    b'{"event_id":5}',
    b'{"event_id":"' + b"x" * 10**6 + b'"}',
    b"[" * 100_000,
    b"[]",
]


@fault(
    "B8",
    "T-A",
    broken=Break(
        "matrixdata/publishing/drain.py",
        "decode(body, _Acknowledged)",
        "msgspec.json.decode(body, type=_Acknowledged)",
    ),
)
def test_an_unreadable_answer_to_a_send_is_no_outcome_and_the_record_arrives_once(room, network):
    raw, client, room_id = room
    theirs = client.collection(room_id)
    left = list(NO_ANSWERS)
    network.fault = lambda seen: (lambda _: left.pop(0)) if seen.is_send and left else None
    receipt = theirs.publish({"n": 1}, wait="synced", timeout=30)
    assert receipt.state == "synced"
    assert theirs.publish({"n": 2}, timeout=30).state in {"sent", "synced"}
    assert [event["content"]["value"]["n"] for event in raw.records(room_id)] == [1, 2]


@fault(
    "T-A",
    broken=Break(
        "matrixdata/receiving/choosing.py",
        "features = decode(body, _Versions)",
        "features = msgspec.json.decode(body, type=_Versions)",
    ),
)
def test_an_unreadable_answer_about_versions_does_not_end_syncing(room, network):
    raw, client, room_id = room
    body = b'{"unstable_features":{"\xff":true}}'
    network.fault = lambda seen: Answer(200, body) if seen.path.endswith("/versions") else None
    theirs = client.collection(room_id)
    raw.send(room_id, record("a"))
    assert [each.uid for each in theirs.query()] == ["a"]
