"""Queries: filters, windows, columns, order, as_of, and what is said about completeness."""

from __future__ import annotations

import datetime
import time
import warnings

import pytest

import matrixdata as md
from tests.api.conftest import READINGS
from tests.servers import CUT, Answer

pytestmark = pytest.mark.server

UTC = datetime.UTC
SECOND = 1_000_000
START = datetime.datetime(2026, 1, 1, tzinfo=UTC)


def hour(n: int) -> datetime.datetime:
    return START + datetime.timedelta(hours=n)


# --- which rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({}, lambda _: True),
        ({"device": "d1"}, lambda r: r["device"] == "d1"),
        ({"device": "d1", "temp": {">": 20.5}}, lambda r: r["device"] == "d1" and r["temp"] > 20.5),
        ({"temp": {">=": 20.5, "<": 21}}, lambda r: 20.5 <= r["temp"] < 21),
        ({"room.floor": 1}, lambda r: r["room"]["floor"] == 1),
        ({("room", "floor"): {"!=": 1}}, lambda r: r["room"]["floor"] != 1),
        ({"device": {"in": ["d0", "d2"]}}, lambda r: r["device"] in {"d0", "d2"}),
        (
            {"$or": [{"device": "d0"}, {"$not": {"temp": {"<": 21.5}}}]},
            lambda r: r["device"] == "d0" or r["temp"] >= 21.5,
        ),
        ({"nowhere": {"exists": True}}, lambda _: False),
    ],
)
def test_a_filter_selects_what_the_same_condition_in_python_selects(readings, where, holds):
    query = readings.collection.query(where)
    expected = [record for record in READINGS if holds(record)]
    assert query.values() == expected
    assert query.count() == len(expected)


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (hour(2), None, slice(2, None)),
        (None, hour(2), slice(0, 2)),
        (hour(2), hour(5), slice(2, 5)),
        ("2026-01-01T02:00:00Z", "2026-01-01T05:00:00+00:00", slice(2, 5)),
        ("2026-01-01T04:00:00+02:00", hour(5), slice(2, 5)),
        (
            hour(2) + datetime.timedelta(microseconds=1),
            hour(5) + datetime.timedelta(microseconds=1),
            slice(3, 6),
        ),
        (hour(5), hour(2), slice(0, 0)),
    ],
)
def test_since_is_inclusive_and_until_exclusive_by_the_time_field(readings, since, until, expected):
    assert readings.collection.query(since=since, until=until).values() == READINGS[expected]


@pytest.mark.parametrize("unit", ["iso", "s", "ms", "us", "ns"])
def test_the_time_field_is_read_in_its_unit_at_any_depth(readings, unit):
    factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
    moments = [START + datetime.timedelta(milliseconds=250 * n) for n in range(4)]

    def written(moment):
        return moment.isoformat() if unit == "iso" else factor[unit] * moment.timestamp()

    rows = [{"sensor": {"at": written(moment)}, "n": n} for n, moment in enumerate(moments)]
    client = readings.client
    collection = client.create_collection(unit, time="sensor.at", time_unit=unit, encrypted=False)
    collection.publish_many(rows)
    query = collection.query(since=moments[1], until=moments[3])
    assert [record.value["n"] for record in query] == [1, 2]
    assert [record.time for record in query] == moments[1:3]


def test_a_relative_since_counts_back_from_now(server):
    collection = server.connect(server.name()).create_collection("x", time="ts", encrypted=False)
    now = datetime.datetime.now(UTC)
    ages = {"old": 25, "recent": 23, "later": -1}
    rows = [
        {"what": name, "ts": (now - datetime.timedelta(hours=age)).isoformat()} for name, age in ages.items()
    ]
    report = collection.publish_many([*rows, {"what": "untimed"}])
    assert [(row.row, row.problems[0].pointer) for row in report.rejected] == [(3, "/ts")]

    def found(**window):
        return [value["what"] for value in collection.query(**window).values()]

    assert found(since="-24h") == ["recent", "later"]
    assert found(since="-24h", until="-0s") == ["recent"]
    assert found(since="-1.5d", until="-1d") == ["old"]
    assert found(until="-1440m") == ["old"]


def test_without_a_time_field_the_time_is_that_of_the_event(server):
    client = server.connect(server.name())
    collection = client.create_collection("x", encrypted=False)
    before = datetime.datetime.now(UTC) - datetime.timedelta(seconds=1)
    collection.publish({"n": 1}, wait="synced")
    (record,) = collection.query(since=before)
    assert before < record.time < datetime.datetime.now(UTC) + datetime.timedelta(seconds=1)
    assert collection.query(until=before).count() == 0


# --- in which order ----------------------------------------------------------------------------------


def test_rows_come_in_the_order_of_the_timeline_or_as_asked(server):
    rows = [
        {"k": 3, "ts": "2026-01-03T00:00:00Z", "a.b": {"c": 2}},
        {"k": 1, "ts": "2026-01-01T00:00:00Z", "a.b": {"c": 1}},
        {"k": "text", "ts": "2026-01-02T00:00:00Z"},
        {"k": 1, "ts": "2026-01-04T00:00:00Z", "a.b": {"c": 3}},
        {"k": None, "ts": "2026-01-05T00:00:00Z"},
    ]
    collection = server.connect(server.name()).create_collection("x", time="ts", encrypted=False)
    collection.publish_many(rows)

    def order(name, **options):
        return [rows.index(value) for value in collection.query(order=name, **options).values()]

    assert order(None) == [0, 1, 2, 3, 4]
    assert order("time") == [1, 2, 0, 3, 4]
    assert order("-time") == [4, 3, 0, 2, 1]
    assert order("k") == [4, 1, 3, 0, 2]  # null, numbers (equal ones as they came), text
    assert order("-k")[:2] == [2, 0]
    assert order('"a.b".c') == [2, 4, 1, 0, 3]  # missing first
    assert order("ts") == order("time")
    assert order("-time", limit=2) == [4, 3]
    assert order("k", limit=2) == [4, 1]
    assert order(None, limit=0) == []
    assert order(None, limit=99) == [0, 1, 2, 3, 4]
    assert order("time", since="2026-01-02T00:00:00Z", where={"k": {"exists": True}}, limit=2) == [2, 0]


# --- in which form -----------------------------------------------------------------------------------


def test_columns_are_those_asked_for_in_that_order_in_every_form(readings, tmp_path):
    query = readings.collection.query(columns=["temp", "room.floor"], limit=3)
    expected = {"temp": [20, 20.25, 20.5], "room.floor": [0, 1, 0]}
    frame = query.to_pandas()
    assert list(frame) == list(expected)
    assert frame.to_dict("list") == expected
    assert query.to_arrow().to_pydict() == expected
    import pyarrow.parquet as pq

    path = query.to_parquet(tmp_path / "x.parquet", meta=True)
    assert pq.read_table(path).column_names == [
        "temp",
        "room.floor",
        "event_id",
        "sender",
        "time",
        "row_state",
    ]
    assert set(query.values()[0]) == set(READINGS[0])


def test_a_query_can_be_read_in_every_form_and_again(readings):
    query = readings.collection.query({"device": "d1"})
    records = query.records()
    assert [record.value for record in query] == [record.value for record in records] == query.values()
    assert query.count() == len(records) == len(query.to_pandas()) == 3
    assert all(record.row_state == "valid" and record.sender == readings.client.user_id for record in records)
    assert "complete" in repr(query)


@pytest.mark.anyio
async def test_leaving_the_loop_over_an_async_query_early_leaves_nothing_open(server):
    async with md.connect_async(**server.account(server.name())) as client:
        collection = await client.create_collection("x", encrypted=False)
        await collection.publish_many([{"n": n} for n in range(5)])
        for _ in range(12):
            async for record in collection.query():
                assert record.value == {"n": 0}
                break
        assert await collection.query().count() == 5


# --- a result that can be frozen ---------------------------------------------------------------------


def test_a_position_bounds_a_query_from_either_side(readings):
    records = readings.collection.query().records()
    position = md.Position.parse(str(records[4].position))
    assert readings.collection.query(as_of=position).values() == READINGS[:5]
    assert readings.collection.query(until=position).values() == READINGS[:5]
    assert readings.collection.query(since=position).values() == READINGS[5:]
    assert readings.collection.query(since=records[1].position, as_of=position).values() == READINGS[2:5]


def test_as_of_leaves_out_what_came_later_and_what_is_pending(server):
    proxy = server.proxy()
    client = server.connect(server.name(), url=proxy.url)
    collection = client.create_collection("x", encrypted=False)
    collection.publish_many([{"n": n} for n in range(3)], wait="synced")
    position = collection.query().records()[-1].position
    frozen = collection.query(as_of=position)
    assert [value["n"] for value in frozen.values()] == [0, 1, 2]
    collection.publish({"n": 3}, wait="synced")
    proxy.fault = lambda seen: CUT if seen.is_send else None
    collection.publish({"n": 4}, wait="queued")
    assert [value["n"] for value in frozen.values()] == [0, 1, 2]
    assert [value["n"] for value in collection.query().values()] == [0, 1, 2, 3, 4]


def test_a_frozen_result_stays_what_it_was_when_a_copy_of_a_record_arrives_that_counts_instead(pair):
    pair.mine.publish_many([{"device": "d", "temp": n} for n in range(8)], wait="synced")
    position = pair.mine.query().records()[-1].position
    before = pair.mine.query(as_of=position).values()
    raw = pair.raw(pair.writer)
    # The smallest event id counts, so a copy soon takes the place of the record with the largest.
    event = max(raw.records(pair.room_id), key=lambda event: event["event_id"])
    content = {**event["content"], "value": {"device": "d", "temp": 99}}
    while raw.send(pair.room_id, content) > event["event_id"]:
        pass
    assert 99 in [value["temp"] for value in pair.mine.query().values()]
    assert pair.mine.query(as_of=position).values() == before


def test_a_position_of_another_replica_is_refused(readings):
    foreign = md.Position(3, "elsewhere")
    for option in ("as_of", "since", "until"):
        with pytest.raises(md.MatrixDataError, match="another replica"):
            readings.collection.query(**{option: foreign})


# --- mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"where": {"temp": {"=>=": 1}}}, ValueError, "=>="),
        ({"where": {"temp": {">": float("nan")}}}, ValueError, "NaN|nan"),
        ({"where": ["device"]}, TypeError, "mapping"),
        ({"where": "temp >"}, md.SqlError, "SQL|expression|syntax"),
        ({"since": "yesterday"}, ValueError, "yesterday"),
        ({"since": "-24"}, ValueError, "-24"),
        ({"since": datetime.datetime(2026, 1, 1)}, ValueError, "time zone"),
        ({"until": "2026-01-01"}, ValueError, "time zone"),
        ({"since": 5}, TypeError, "since=5"),
        ({"columns": "temp"}, TypeError, r'\["temp"\]'),
        ({"order": ""}, ValueError, "path"),
        ({"order": "a..b"}, ValueError, "path"),
        ({"order": 5}, TypeError, "order"),
        ({"limit": -1}, ValueError, "limit"),
        ({"limit": True}, ValueError, "limit"),
        ({"limit": 2.0}, ValueError, "limit"),
        ({"as_of": "abc:3"}, TypeError, "Position"),
        ({"on_incomplete": "shout"}, ValueError, "warn"),
    ],
)
def test_a_mistake_in_a_query_raises_where_it_is_made(readings, options, error, says):
    with pytest.raises(error, match=says):
        readings.collection.query(**options)


# --- completeness ------------------------------------------------------------------------------------


def test_a_complete_result_says_so(readings):
    query = readings.collection.query()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = query.to_pandas()
    assert query.completeness == md.Completeness()
    assert frame.attrs["matrixdata"]["complete"] is True


@pytest.fixture
def gapped(server, monkeypatch):
    """A reader who was away for 20 events and cannot fetch what sync left out; its proxy."""
    monkeypatch.setattr("matrixdata.receiving.sources.TIMELINE_LIMIT", 10)
    owner, name = server.connect(server.name()), server.name("reader")
    proxy = server.proxy()
    with md.connect(**server.account(name, url=proxy.url)) as reader:
        mine = owner.create_collection("x", encrypted=False, invite=[reader.user_id])
        mine.publish({"n": 0})
        assert reader.collection(mine.room_id).query().count() == 1
    mine.publish_many([{"n": n} for n in range(1, 21)])
    proxy.fault = lambda seen: (
        Answer(403, b'{"errcode":"M_FORBIDDEN"}') if "limit=1000" in seen.path else None
    )
    reader = server.connect(name, url=proxy.url)
    return reader.collection(mine.room_id), proxy


def test_a_gap_is_counted_and_warned_of_each_time_or_raised_or_ignored_as_asked(gapped):
    collection, proxy = gapped
    query = collection.query()
    with pytest.warns(md.IncompleteWarning, match=r"1 gap.*sync\(\)"):
        frame = query.to_pandas()
    assert query.completeness.gaps == 1
    assert not query.completeness.complete
    assert len(frame) < 21
    assert frame.attrs["matrixdata"]["gaps"] == 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # as Python's own filters show a UserWarning: once for each place
        collection.query().count()
        collection.query().count()
    assert len(caught) == 2
    with pytest.raises(md.Incomplete) as error:
        collection.query(on_incomplete="raise").values()
    assert error.value.completeness.gaps == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert collection.query(on_incomplete="ignore").count() == len(frame)
        # Where a result is filtered or limited it lacks rows all the same.
        with pytest.raises(md.IncompleteWarning):
            collection.query({"n": 5}, limit=1).values()
    proxy.fault = lambda _: None
    collection.sync()
    assert [value["n"] for value in collection.query(on_incomplete="raise").values()] == list(range(21))


def test_without_the_server_what_is_here_is_read_and_said_not_to_be_fresh(server):
    proxy = server.proxy()
    collection = server.connect(server.name(), url=proxy.url).create_collection("x", encrypted=False)
    collection.publish({"n": 1}, wait="synced")
    proxy.down()
    query = collection.query(timeout=0.5)
    started = time.monotonic()
    with pytest.warns(md.IncompleteWarning, match="not reached"):
        assert query.values() == [{"n": 1}]
    assert time.monotonic() - started < 5
    assert not query.completeness.fresh
    with pytest.raises(md.Incomplete):
        collection.query(timeout=0.2, on_incomplete="raise").count()


def test_pending_rows_are_included_and_counted_and_the_result_is_complete_with_them(server):
    proxy = server.proxy()
    collection = server.connect(server.name(), url=proxy.url).create_collection("x", encrypted=False)
    collection.publish({"n": 1}, wait="synced")
    proxy.fault = lambda seen: CUT if seen.is_send else None
    collection.publish({"n": 2}, wait="queued")
    query = collection.query(on_incomplete="raise")
    assert query.values() == [{"n": 1}, {"n": 2}]
    assert query.completeness.pending == 1
    assert query.completeness.complete
    assert list(query.to_pandas(meta=True)["row_state"]) == ["valid", "pending"]
    assert collection.query({"n": 1}).values() == [{"n": 1}]
    assert collection.query(order="-time", limit=1).values() == [{"n": 2}]


def test_quarantined_rows_are_counted_and_listed(pair):
    pair.mine.publish({"device": "d", "temp": 1})
    pair.raw(pair.writer).send(pair.room_id, {"v": "nonsense"})
    query = pair.theirs.query(on_incomplete="ignore")
    assert query.count() == 1
    assert query.completeness.invalid == len(pair.theirs.invalid()) == 1
    (row,) = pair.theirs.invalid().to_pandas().to_dict("records")
    assert (row["sender"], row["content"], row["rule"]) == (pair.writer.user_id, {"v": "nonsense"}, "version")


def test_completeness_can_be_asked_before_any_result(readings):
    assert readings.collection.query().completeness.complete
