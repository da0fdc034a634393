"""An edited record has the value of the edit in force, whatever came first; the rest of the history stays."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.protocol.events import Event, parse_event
from matrixdata.receiving.pipeline import event_row
from matrixdata.replica.database import Database
from matrixdata.replica.rooms import Rooms
from matrixdata.replica.rows import RoomChange
from matrixdata.replica.rules import Rules
from matrixdata.replica.scan import Span
from tests.protocol.vectors import vectors
from tests.strategies import exact

ROOM, ANN, BOB = "!room", "@ann:x", "@bob:x"
RECORD = "io.matrixdata.record"


def row(event_id, content, *, sender=ANN, time=0, event_type=RECORD, state_key=None):
    """The row of an event, as the pipeline makes it in a room without rules."""
    redacts = content.get("redacts") if event_type == "m.room.redaction" else None
    event = Event(
        event_id, event_type, sender, time, json.dumps(content).encode(), state_key, redacts=redacts
    )
    return event_row(event, Rules())


def record(event_id="$r", value=0, uid="u", **options):
    return row(event_id, {"v": 1, "uid": uid, "value": {"n": value}}, **options)


def edit(event_id, value, *, of="$r", uid="u", time=0, new=None, **options):
    new = {"v": 1, "uid": uid, "value": {"n": value}} if new is None else new
    content = {"m.new_content": new, "m.relates_to": {"rel_type": "m.replace", "event_id": of}}
    return row(event_id, content, time=time, **options)


def redaction(event_id, of):
    return row(event_id, {"redacts": of}, event_type="m.room.redaction")


def with_rooms(scenario):
    async def run():
        with tempfile.TemporaryDirectory() as place:
            database = Database(Path(place) / "replica.db", kind="replica", synchronous="NORMAL")
            try:
                await scenario(Rooms(database))
            finally:
                await database.aclose()

    anyio.run(run)


async def apply(rooms, *rows):
    await rooms.apply([RoomChange(ROOM, events=rows)], tokens={})


async def values(rooms, **span):
    """Value and whether it is edited, of each record that counts."""
    pages = rooms.scan(ROOM).records(Span(**span))
    return [(json.loads(found[3])["n"], bool(found[6])) async for page in pages for found in page]


async def states(rooms):
    return {each.event_id: each.row_state async for page in rooms.scan(ROOM).events() for each in page}


EVENTS = [
    record(),
    edit("$e1", 1, time=10),
    edit("$e2", 2, time=20),
    edit("$e3", 3, time=20),  # as old as $e2, and greater by its id
    edit("$e4", 4, time=30),
    edit("$theirs", 66, time=99, sender=BOB),
    edit("$chained", 77, of="$e1", time=99),
    edit("$other", 88, uid="another", time=99),
    redaction("$x", "$e4"),
]


@given(order=st.permutations(EVENTS), size=st.integers(1, 9))
def test_the_edit_in_force_does_not_depend_on_what_came_first(order, size):
    async def scenario(rooms):
        for start in range(0, len(order), size):
            await apply(rooms, *order[start : start + size])
        assert await values(rooms) == [(3, True)]
        found = await states(rooms)
        assert found == {
            **dict.fromkeys(("$r", "$e1", "$e2", "$e3", "$x"), "valid"),
            **dict.fromkeys(("$theirs", "$chained", "$other"), "invalid"),
            "$e4": "redacted",
        }

    with_rooms(scenario)


@pytest.mark.parametrize("case", vectors("edit"))
def test_edits_are_read_as_published(case):
    def stored(event):
        raw = {**event, "unsigned": {"redacted_because": {}}} if event.pop("redacted", False) else event
        return event_row(parse_event(json.dumps(raw).encode()), Rules())

    async def scenario(rooms):
        await apply(rooms, *(stored(dict(event)) for event in case["events"]))
        (found,) = [row async for page in rooms.scan(ROOM).records(Span()) for row in page]
        assert exact(json.loads(found[3])) == exact(json.loads(case["value"]))
        assert bool(found[6]) == (case["edit"] is not None)
        listed = {event_id for event_id, state in (await states(rooms)).items() if state == "invalid"}
        assert listed == set(case["invalid"])

    with_rooms(scenario)


def test_each_change_of_value_is_told_and_what_is_redacted_is_in_no_earlier_result_either():
    async def scenario(rooms):
        moments, told = [], []

        async def happens(*rows):
            before = await rooms.newest_change()
            await apply(rooms, *rows)
            page = await rooms.feed(ROOM, after=before, since=before)
            told.append(
                [
                    (entry.kind, json.loads(entry.event.value)["n"], entry.event.edited)
                    for entry in page.entries
                    if entry.record and entry.kind != "redaction"
                ]
            )
            moments.append(await rooms.newest_change())

        await happens(record())
        await happens(edit("$e1", 1, time=10))
        await happens(edit("$e0", 9, time=5))  # late, and older than the one in force
        await happens(edit("$e2", 2, time=20))
        await happens(redaction("$x", "$e2"))
        await happens(redaction("$y", "$e1"), redaction("$z", "$e0"))
        assert told == [
            [("live", 0, False)],
            [("edited", 1, True)],
            [],
            [("edited", 2, True)],
            [("edited", 1, True)],
            [("edited", 0, False)],
        ]
        assert [await values(rooms, as_of=each) for each in moments[:2]] == [[(0, False)], [(0, False)]]
        assert await values(rooms) == [(0, False)]

    with_rooms(scenario)


def test_a_result_as_of_before_an_edit_has_the_value_of_then():
    async def scenario(rooms):
        await apply(rooms, record(time=7))
        first = await rooms.newest_change()
        await apply(rooms, edit("$e1", 1, time=10))
        second = await rooms.newest_change()
        await apply(rooms, edit("$e2", 2, time=20))
        assert await values(rooms, as_of=first) == [(0, False)]
        assert await values(rooms, as_of=second) == [(1, True)]
        assert await values(rooms) == await values(rooms, as_of=await rooms.newest_change()) == [(2, True)]
        # Without a time field a record keeps the time of the event that brought it.
        assert await values(rooms, since=7000, until=7001) == [(2, True)]

    with_rooms(scenario)


@pytest.mark.parametrize("redaction_first", [False, True])
def test_a_redacted_record_is_gone_whatever_edits_it_has(redaction_first):
    async def scenario(rooms):
        gone = [redaction("$x", "$r")]
        await apply(rooms, edit("$e1", 1), *(gone if redaction_first else [record()]))
        await apply(rooms, *([record()] if redaction_first else gone))
        assert await values(rooms) == []
        await apply(rooms, edit("$e2", 2, time=9))
        assert await values(rooms) == []

    with_rooms(scenario)


@pytest.mark.parametrize(
    "bad",
    [
        edit("$e", 1, new={"v": 1, "uid": "u", "value": 7}),
        edit("$e", 1, new={"v": 2}),
        edit("$e", 1, new=[]),
        edit("$e", 1, of=""),
        edit("$e", 1, of=7),
        row("$e", {"m.relates_to": {"rel_type": "m.replace", "event_id": "$r"}, "uid": "u"}),
    ],
)
def test_an_edit_that_makes_no_record_is_listed_and_changes_nothing(bad):
    async def scenario(rooms):
        await apply(rooms, record(), bad)
        assert await values(rooms) == [(0, False)]
        assert await states(rooms) == {"$r": "valid", "$e": "invalid"}

    with_rooms(scenario)


def test_other_relations_are_no_edits_and_an_edit_of_a_foreign_event_is_none_of_ours():
    async def scenario(rooms):
        thread = {
            "v": 1,
            "uid": "t",
            "value": {"n": 5},
            "m.relates_to": {"rel_type": "m.thread", "event_id": "$r"},
        }
        await apply(rooms, record(), row("$t", thread))
        await apply(rooms, row("$m", {"body": "hi"}, event_type="m.room.message"), edit("$e", 1, of="$m"))
        assert await values(rooms) == [(0, False), (5, False)]
        assert (await states(rooms))["$e"] == "invalid"

    with_rooms(scenario)
