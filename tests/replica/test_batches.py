"""Records of a batch are records: one by one valid, found, redacted, counted; wherever the batch came from or moves."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.model.member import member_key, split_key
from matrixdata.protocol.batch import Packer, pack_retraction
from matrixdata.protocol.events import parse_event
from matrixdata.receiving.pipeline import judged_again
from matrixdata.replica import timeline
from matrixdata.replica.order import arrange
from matrixdata.replica.rows import RoomChange, StateRow
from matrixdata.replica.rules import read_rules
from matrixdata.replica.scan import Span
from tests.replica.test_edits import edit, record, redaction, row, with_rooms

ROOM, ANN, BOB = "!room", "@ann:x", "@bob:x"
BATCH, RETRACTION = "io.matrixdata.batch", "io.matrixdata.retraction"


def batch(event_id, values, *, uid="b", uids=None, **options):
    packed = Packer().pack([*map(msgspec.json.encode, values)], uid=uid, uids=uids, schema_hash=None)
    return row(event_id, json.loads(packed.content), event_type=BATCH, **options)


def numbered(event_id, count, **options):
    return batch(event_id, [{"n": n} for n in range(count)], **options)


def retraction(event_id, of, index, **options):
    return row(event_id, pack_retraction(of, index), event_type=RETRACTION, **options)


async def shown(rooms, span=None):
    """What a query returns: event id, place, uid, value."""
    scan = rooms.scan(ROOM)
    pages = [page async for page in scan.records(span or Span())]
    return [(*split_key(row[0]), row[2], json.loads(row[3])) for page in pages for row in page]


async def apply(rooms, *rows, **options):
    return await rooms.apply([RoomChange(ROOM, events=rows, **options)], tokens={})


async def listed(rooms, **options):
    return [event async for page in rooms.scan(ROOM).events(**options) for event in page]


def test_its_records_are_found_each_with_its_place_and_history_has_the_event_once():
    async def scenario(rooms):
        await apply(rooms, record("$a", 7, uid="u"), numbered("$b", 3), record("$c", 8, uid="v"))
        assert await shown(rooms) == [
            ("$a", None, "u", {"n": 7}),
            ("$b", 0, "b:0", {"n": 0}),
            ("$b", 1, "b:1", {"n": 1}),
            ("$b", 2, "b:2", {"n": 2}),
            ("$c", None, "v", {"n": 8}),
        ]
        assert [event.event_id for event in await listed(rooms)] == ["$a", "$b", "$c"]
        assert await rooms.newest_event(ROOM) == "$c"
        assert await rooms.has_events(["$a", "$b"]) == {"$a", "$b"}
        assert (await rooms.counts(ROOM))["invalid"] == 0

    with_rooms(scenario)


def test_only_the_records_that_are_none_are_invalid():
    async def scenario(rooms):
        bad = batch("$b", [{"n": 1}, [2], {"n": 3}])
        await apply(
            rooms, bad, row("$c", {"v": 1, "uid": "c", "count": 1, "records": "AAAA"}, event_type=BATCH)
        )
        assert await shown(rooms) == [("$b", 0, "b:0", {"n": 1}), ("$b", 2, "b:2", {"n": 3})]
        invalid = await listed(rooms, states=("invalid",))
        assert [(e.event_id, json.loads(e.problems)[0][1]) for e in invalid] == [
            (member_key("$b", 1), "type"),
            ("$c", "encoding"),
        ]
        assert (await rooms.counts(ROOM))["invalid"] == 2

    with_rooms(scenario)


def test_the_feed_goes_on_within_a_batch():
    async def scenario(rooms):
        await apply(rooms, numbered("$b", 5))
        found, after = [], 0
        while (page := await rooms.feed(ROOM, after=after, since=0, most=2)).entries or page.more:
            found += [(*split_key(e.event.event_id), e.record) for e in page.entries]
            after = page.reached
        assert found == [("$b", None, False), *(("$b", n, True) for n in range(5))]

    with_rooms(scenario)


@given(order=st.permutations(range(4)), redacted=st.sampled_from([None, "$1", "$2", "$3"]))
def test_one_row_counts_for_each_uid_whatever_came_first(order, redacted):
    events = [
        record("$1", 1, uid="b:1"),
        numbered("$2", 3),
        numbered("$3", 3),  # the same batch once more
        batch("$4", [{"n": 9}], uid="other", uids=["b:2"]),
    ]

    async def scenario(rooms):
        for number in order:
            await apply(rooms, events[number])
        if redacted:
            await apply(rooms, redaction("$9", redacted))
        left = [e for e in ("$1", "$2", "$3", "$4") if e != redacted]
        holders = {"b:0": ["$2", "$3"], "b:1": ["$1", "$2", "$3"], "b:2": ["$2", "$3", "$4"]}
        expected = {uid: next(e for e in left if e in ids) for uid, ids in holders.items()}
        found = await shown(rooms)
        assert {uid: event_id for event_id, _, uid, _ in found} == expected
        assert len(found) == 3

    with_rooms(scenario)


@pytest.mark.parametrize("before", [False, True])
def test_redacting_the_event_removes_every_record(before):
    async def scenario(rooms):
        events = [numbered("$b", 4), redaction("$r", "$b")]
        if before:  # the redaction is met first, as when history is fetched later
            await apply(rooms, events[1], limited=True, prev_batch="t")
            (gap,) = await rooms.gaps(ROOM)
            await rooms.fill(gap, [events[0]], token=None)
        else:
            await apply(rooms, *events)
        assert await shown(rooms) == []
        assert all(e.content is None and e.value is None for e in await listed(rooms, states=("redacted",)))
        page = await rooms.feed(ROOM, after=0, since=None)
        told = [e.event.event_id for e in page.entries if e.kind == "redaction" and e.record]
        assert told == ["$b"]

    with_rooms(scenario)


@pytest.mark.parametrize("before", [False, True])
def test_a_retraction_removes_one_record_and_nobody_elses_does(before):
    async def scenario(rooms):
        secret = batch("$b", [{"n": 0}, {"secret": "canary"}, {"n": 2}])
        retractions = [retraction("$x", "$b", 1), retraction("$y", "$b", 2, sender=BOB)]
        if before:
            await apply(rooms, *retractions, limited=True, prev_batch="t")
            (gap,) = await rooms.gaps(ROOM)
            await rooms.fill(gap, [secret], token=None)
        else:
            await apply(rooms, secret, *retractions)
        assert [place for _, place, _, _ in await shown(rooms)] == [0, 2]
        for event in await listed(rooms, states=("valid", "invalid", "redacted")):
            if event.event_id.startswith("$b"):
                assert b"canary" not in (event.value or b"")
                assert b'"records"' not in (event.content or b"")
        page = await rooms.feed(ROOM, after=0, since=None)
        told = [split_key(e.event.event_id) for e in page.entries if e.kind == "redaction"]
        assert told == [("$b", 1)]

    with_rooms(scenario)


def test_retractions_of_what_is_not_there_do_nothing():
    async def scenario(rooms):
        await apply(rooms, record("$a"), numbered("$b", 1))
        await apply(rooms, retraction("$x", "$a", 0), retraction("$y", "$b", 5), retraction("$z", "$none", 0))
        assert len(await shown(rooms)) == 2
        bad = row("$w", {"v": 1, "event_id": "$b"}, event_type=RETRACTION)
        await apply(rooms, bad)
        assert (await rooms.counts(ROOM))["invalid"] == 1

    with_rooms(scenario)


def test_edits_of_batches_and_of_their_records_are_invalid():
    async def scenario(rooms):
        of_batch, of_record = (
            edit("$e", 9, of="$b", uid="b"),
            edit("$f", 9, of=member_key("$b", 0), uid="b:0"),
        )
        content = json.loads(numbered("$c", 1).content)
        content["m.relates_to"] = {"rel_type": "m.replace", "event_id": "$b"}
        await apply(rooms, numbered("$b", 1), of_batch, of_record, row("$g", content, event_type=BATCH))
        assert await shown(rooms) == [("$b", 0, "b:0", {"n": 0})]
        assert {e.event_id for e in await listed(rooms, states=("invalid",))} == {"$e", "$f", "$g"}

    with_rooms(scenario)


def test_nothing_reaches_a_record_by_its_key():
    """Its key stands in no event: what names it there names nothing."""

    async def scenario(rooms):
        await apply(rooms, numbered("$b", 2), redaction("$r", member_key("$b", 0)))
        await apply(rooms, redaction("$s", member_key("$d", 0)), numbered("$d", 2, uid="d"))
        assert len(await shown(rooms)) == 4
        raw = {
            "event_id": member_key("$b", 0),
            "type": "m.x",
            "sender": ANN,
            "origin_server_ts": 1,
            "content": {},
        }
        assert parse_event(json.dumps(raw).encode()) is None

    with_rooms(scenario)


def rules(time):
    content = {"v": 1, "name": "x", "uid": "x", **({"time": {"pointer": "/n", "unit": "s"}} if time else {})}
    state = StateRow("io.matrixdata.collection", "", "$s", ANN, 0, json.dumps(content).encode())
    return read_rules([state])


def test_new_rules_are_applied_to_each_record():
    async def scenario(rooms):
        await apply(rooms, batch("$b", [{"n": 1}, {"m": 2}, 3], time=77))

        async def judge(by):
            pages = [page async for page in rooms.scan(ROOM).record_events()]
            verdicts = [judged_again(event, by) for page in pages for event in page]
            await rooms.rejudge(ROOM, verdicts, rules=by.fingerprint)

        async def times():
            return [row[4] async for page in rooms.scan(ROOM).records(Span()) for row in page]

        assert await times() == [77_000, 77_000]
        await judge(rules(time=True))
        assert await shown(rooms) == [("$b", 0, "b:0", {"n": 1})]
        assert await times() == [1_000_000]
        assert (await rooms.counts(ROOM))["invalid"] == 2
        await judge(rules(time=False))
        assert [value for *_, value in await shown(rooms)] == [{"n": 1}, {"m": 2}]
        assert await times() == [77_000, 77_000]

    with_rooms(scenario)


@given(order=st.permutations("abcdef"), size=st.integers(1, 6))
def test_a_batch_moves_with_its_records(order, size):
    events = {name: numbered(f"${name}", 3, uid=name) for name in "abcdef"}

    async def scenario(rooms):
        await apply(rooms, *(events[name] for name in order))
        below = None
        for start in range(0, 6, size):
            page = [events[name] for name in "fedcba"[start : start + size]]

            def work(c, page=page, below=below):
                return arrange(c, timeline.room_key(c, ROOM), page, below=below)

            below = (await rooms._db.write(work)).oldest
        assert [(e, n) for e, n, _, _ in await shown(rooms)] == [
            (f"${x}", n) for x in "abcdef" for n in range(3)
        ]

    with_rooms(scenario)


def test_what_the_server_forgot_is_the_batch_and_its_records():
    async def scenario(rooms):
        await apply(rooms, record("$a"), numbered("$b", 3))
        assert await rooms.events_after(ROOM, "$a") == ["$b"]
        (lost,) = await rooms.records_of(ANN, ["$b"])
        assert (lost.type, lost.uid) == (BATCH, "b")
        await rooms.forget(ROOM, ["$b"], [])
        assert await rooms.newest_event(ROOM) == "$a"
        assert (await rooms.counts(ROOM))["forgotten"] == 3
        await apply(rooms, numbered("$c", 3))
        assert [event_id for event_id, *_ in await shown(rooms)] == ["$a", "$c", "$c", "$c"]

    with_rooms(scenario)
