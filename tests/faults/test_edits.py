"""Edits of records through a real server: in whatever order they come, readers end with the same value."""

from __future__ import annotations

import pytest

from matrixdata.receiving import sources
from tests.faults.harness import Break, fault
from tests.servers import RECORD


def content(value):
    return {"v": 1, "uid": "u", "value": {"n": value}}


def edit(of, value, **more):
    relation = {"rel_type": "m.replace", "event_id": of}
    return {"m.new_content": {**content(value), **more}, "m.relates_to": relation}


@fault(
    "F22",
    broken=(
        Break(
            "matrixdata/replica/redaction.py",
            "            settle(c, room, edits, tell=True, by=key)\n",
            "            pass\n",
        ),
        Break("matrixdata/replica/edits.py", "if original.sender != edit.sender:", "if False:"),
    ),
)
def test_edits_and_their_redactions_reach_those_who_read_now_and_those_who_come_later(server, monkeypatch):
    monkeypatch.setattr(sources, "TIMELINE_LIMIT", 3)  # who comes later pages back, and so meets edits first
    ann, ben = server.raw(server.name("ann")), server.raw(server.name("ben"))
    room_id = ann.create_room()
    name, late = server.name("now"), server.name("late")
    for each in (ben.user_id, server.user_id(name), server.user_id(late)):
        ann.invite(room_id, each)
    ben.join(room_id)
    collection = server.connect(name).collection(room_id)
    with collection.subscribe() as sub:

        def told():
            record = sub.get(timeout=10)
            return record.event_id, record.value["n"], record.edited

        original = ann.send(room_id, content(0))
        assert told() == (original, 0, False)
        first = ann.send(room_id, edit(original, 1))
        assert told() == (original, 1, True)
        second = ann.send(room_id, edit(original, 2))
        assert told() == (original, 2, True)
        forged = ben.send(room_id, edit(original, 66))
        chained = ann.send(room_id, edit(first, 77))  # which is nobody's edit once that is redacted
        broken = ann.send(room_id, edit(original, 88, uid="another"))
        ann.redact(room_id, second)
        assert told() == (original, 1, True)
        ann.redact(room_id, first)
        assert told() == (original, 0, False)
        ann.send(room_id, edit(original, 3))
        assert told() == (original, 3, True)
    other = server.connect(late).collection(room_id)
    for each in (collection, other):
        each.sync()
        assert [(record.event_id, record.value["n"], record.edited) for record in each.query()] == [
            (original, 3, True)
        ]
        assert {found.event_id for found in each.invalid()} == {forged, broken}
        events = [event for event in each.history() if event.type == RECORD]
        states = {event.event_id: event.row_state for event in events}
        found = [states[each] for each in (original, first, second, chained)]
        assert found == ["valid", "redacted", "redacted", "valid"]
        assert len(events) == 7
    with pytest.raises(TimeoutError), other.subscribe() as sub:
        sub.get(timeout=0.2)
