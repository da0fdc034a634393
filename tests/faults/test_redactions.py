"""F22: what was redacted leaves every file, whenever the redaction comes; and nothing that was not."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from matrixdata.receiving import sources
from tests.faults.harness import Break, fault
from tests.servers import Answer, wait_until

CANARY = "canary-5f2c"
NOT_SCRUBBED = Break(
    "matrixdata/receiving/intake.py",
    "upto is None or (await self._outbox.scrub() and await self._rooms.scrub(upto))",
    "True",
)
NOT_TRIED_AGAIN = Break("matrixdata/receiving/syncing.py", "await self._intake.scrub()", "pass")
NOT_AWAITED = Break("matrixdata/replica/inserting.py", "    redact_awaited(c, room, key)\n", "")
STATE_KEPT = Break(
    "matrixdata/replica/redaction.py", "    redact_state(c, room, event_id)\n    found", "    found"
)


def traces(place):
    """The files below a store that still hold what was redacted."""
    files = [path for path in place.rglob("*") if path.is_file()]
    assert any(path.name == "replica.db" for path in files)
    return [path.name for path in files if CANARY.encode() in path.read_bytes()]


def content(number, note=""):
    return {"v": 1, "uid": f"u{number}", "value": {"n": number, "note": note * 40}}


def states(collection):
    return {event.event_id: (event.row_state, event.content is None) for event in collection.history()}


@pytest.fixture
def place(server):
    return server.place


@fault("F22", broken=NOT_SCRUBBED)
def test_a_record_redacted_after_it_was_read_leaves_every_file_of_sender_and_reader(server, place):
    ann, bob = server.name("ann"), server.name("bob")
    writer, reader = server.connect(ann), server.connect(bob)
    mine = writer.create_collection("notes", encrypted=False, invite=[reader.user_id])
    theirs = reader.collection(mine.room_id)
    receipt = mine.publish({"note": CANARY * 40}, wait="synced")
    kept = mine.publish({"note": "kept"}, wait="synced")
    assert theirs.query().count() == 2
    assert traces(place / ann)
    assert traces(place / bob)
    server.raw(ann).redact(mine.room_id, receipt.event_id)
    for client, collection in ((ann, mine), (bob, theirs)):
        wait_until(lambda each=collection: each.query().values() == [{"note": "kept"}])
        wait_until(lambda each=client: traces(place / each) == [])
        found = states(collection)
        assert (found[receipt.event_id], found[kept.event_id]) == (("redacted", True), ("valid", False))


@fault("F22", broken=NOT_TRIED_AGAIN)
def test_what_a_reader_kept_in_the_files_leaves_them_as_soon_as_nobody_reads(server, place):
    name, network = server.name("bob"), server.proxy()
    client = server.connect(name, url=network.url)
    notes = client.create_collection("notes", encrypted=False)
    receipt = notes.publish({"note": CANARY * 40}, wait="synced")
    assert notes.query().count() == 1
    with closing(sqlite3.connect(place / name / "replica.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchone()
        server.raw(name).redact(notes.room_id, receipt.event_id)
        wait_until(lambda: notes.query().count() == 0)
        network.down()  # or the next response would see to it
        assert traces(place / name)
    wait_until(lambda: traces(place / name) == [])


@fault("F22", broken=NOT_AWAITED)
def test_a_redaction_that_comes_before_what_it_redacts_holds_when_that_is_paged_back(
    server, place, monkeypatch
):
    monkeypatch.setattr(sources, "TIMELINE_LIMIT", 4)
    raw, name, network = server.raw(server.name("ann")), server.name("bob"), server.proxy()
    room_id = raw.create_room()
    raw.invite(room_id, server.user_id(name))
    sent = [raw.send(room_id, content(n, CANARY if n == 3 else "")) for n in range(12)]
    original = raw.timeline(room_id)

    def stale(body):
        """The page as the server would have answered before the redaction."""
        page = json.loads(body)
        known = {event["event_id"]: event for event in original}
        page["chunk"] = [known.get(event["event_id"], event) for event in page["chunk"]]
        return json.dumps(page).encode()

    blocked = True

    def edit(seen):
        if "/messages" not in seen.path or "from=" not in seen.path:
            return None
        return Answer(502) if blocked else stale

    network.fault = edit
    client = server.connect(name, url=network.url)
    collection = client.collection(room_id)
    with collection.subscribe() as sub:
        raw.redact(room_id, sent[3])
        raw.redact(room_id, "$unknown-to-everybody")
        raw.send(room_id, content(20))
        assert sub.get(timeout=10).uid == "u20"
    assert client.status().gaps == 1
    blocked = False
    collection.sync()
    assert [value["n"] for value in collection.query().values()] == [n for n in (*range(12), 20) if n != 3]
    assert states(collection)[sent[3]] == ("redacted", True)
    wait_until(lambda: traces(place / name) == [])


@fault("F22", broken=STATE_KEPT)
def test_redacted_state_reads_as_redacted_and_not_as_an_empty_valid_one(server, place):
    name = server.name("ann")
    client, raw = server.connect(name), server.raw(name)
    collection = client.create_collection("notes", encrypted=False)
    answer = raw.put_state(collection.room_id, "io.example", "k", {"note": CANARY * 40})
    with collection.subscribe():
        rows = {event.type: event for event in collection.state()}
        assert (rows["io.example"].row_state, rows["io.example"].content) == ("valid", {"note": CANARY * 40})
        raw.redact(collection.room_id, answer.json()["event_id"])
        wait_until(lambda: traces(place / name) == [])
    rows = {event.type: event for event in collection.state()}
    assert (rows["io.example"].row_state, rows["io.example"].content) == ("redacted", None)
    # So does it to somebody who never saw it whole, though the server then answers with an empty object.
    late = server.connect(server.name("late"))
    collection.invite(late.user_id)
    other = late.collection(collection.room_id)
    assert other.query().count() == 0
    rows = {event.type: event for event in other.state()}
    assert (rows["io.example"].row_state, rows["io.example"].content) == ("redacted", None)


@fault(
    "F22",
    broken=Break(
        "matrixdata/receiving/intake.py",
        "if row.sender == self._user_id\n",
        "if row.sender == self._user_id and row.uid\n",
    ),
)
def test_what_waits_in_the_outbox_to_be_seen_leaves_the_files_with_its_redaction(server, place):
    name = server.name("ann")
    with server.connect(name) as client:
        room_id = client.create_collection("notes", encrypted=False).room_id
    with server.connect(name) as client:  # one shot: it never syncs
        receipt = client.collection("notes").publish({"note": CANARY * 40})
    assert traces(place / name) != []
    server.raw(name).redact(room_id, receipt.event_id)
    with server.connect(name) as client:
        assert client.collection("notes").query().values() == []
        wait_until(lambda: traces(place / name) == [])
        assert client.outbox.list() == []
