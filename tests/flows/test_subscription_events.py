"""What a subscription tells beside records, how it is bounded, and its records as Arrow batches."""

from __future__ import annotations

import threading

import anyio
import pytest

import matrixdata as md
from tests.servers import wait_until

pytestmark = pytest.mark.server


def reading(number):
    return {"device": "d", "temp": number}


def temps(items):
    return [item.value["temp"] for item in items if isinstance(item, md.Record)]


def until(events, kind):
    """Items up to and including the first of a kind."""
    items = []
    while not items or not isinstance(items[-1], kind):
        items.append(next(events))
    return items


def kinds(items):
    return [type(item) for item in items if not isinstance(item, md.Record)]


def here(collection):
    return collection.query(timeout=0).count()


# -- what is told -------------------------------------------------------------------------------------


def test_caught_up_comes_once_and_only_then(pair):
    pair.mine.publish_many([reading(n) for n in range(3)])
    with pair.theirs.subscribe(start="all") as sub:
        events = sub.events(timeout=10)
        items = until(events, md.CaughtUp)
        assert temps(items) == [0, 1, 2]
        pair.mine.publish(reading(3))
        assert temps([next(events)]) == [3]
        with pytest.raises(TimeoutError):
            next(sub.events(timeout=0.1))


def test_what_is_invalid_or_redacted_is_told_where_it_happened(pair):
    raw = pair.raw(pair.writer)
    with pair.theirs.subscribe() as sub:
        events = sub.events(timeout=10)
        until(events, md.CaughtUp)
        pair.mine.publish(reading(1))
        record = next(events)
        raw.send(pair.room_id, {"nonsense": True})
        raw.redact(pair.room_id, record.event_id)
        invalid, redacted = next(events), next(events)
        assert isinstance(invalid, md.Invalid)
        assert invalid.record.content == {"nonsense": True}
        assert invalid.record.problems
        assert isinstance(redacted, md.Redacted)
        assert redacted.event_id == record.event_id
        assert record.position < invalid.position < redacted.position


def test_plain_iteration_leaves_out_what_is_no_record(pair):
    raw = pair.raw(pair.writer)
    with pair.theirs.subscribe() as sub:
        sub.events()
        raw.send(pair.room_id, {"nonsense": True})
        pair.mine.publish(reading(1))
        assert sub.get(timeout=10).value == reading(1)


@pytest.fixture
def behind_proxy(pair):
    """The reader's collection through a network that can fail."""
    proxy = pair.server.proxy()
    name = pair.server.name("late")
    pair.mine.invite(pair.server.user_id(name))
    return proxy, pair.server.connect(name, url=proxy.url).collection(pair.room_id)


def test_a_reconnection_is_told_before_what_was_missed(pair, behind_proxy):
    proxy, late = behind_proxy
    with late.subscribe() as sub:
        events = sub.events(timeout=30)
        until(events, md.CaughtUp)
        proxy.down()
        pair.mine.publish_many([reading(n) for n in range(3)])
        proxy.up()
        items = until(events, md.CaughtUp)
    assert kinds(items) == [md.Reconnected, md.CaughtUp]
    assert isinstance(items[0], md.Reconnected)
    assert items[0].since is not None
    assert items[0].since < items[1].time
    assert items[0].reason
    assert temps(items) == [0, 1, 2]


def test_a_gap_is_told_before_what_came_after_it_and_when_it_is_filled(pair, behind_proxy, monkeypatch):
    from matrixdata.receiving import sources

    monkeypatch.setattr(sources, "TIMELINE_LIMIT", 5)
    proxy, late = behind_proxy
    with late.subscribe() as sub:
        events = sub.events(timeout=30)
        until(events, md.CaughtUp)
        proxy.down()
        pair.mine.publish_many([reading(n) for n in range(20)])
        proxy.up()
        items = until(events, md.CaughtUp)
    assert kinds(items) == [md.Reconnected, md.Gap, md.GapFilled, md.CaughtUp]
    gap, filled = (it for it in items if isinstance(it, (md.Gap, md.GapFilled)))
    before, after = items[: items.index(gap)], items[items.index(filled) :]
    assert temps(before) == temps(after) == []
    assert sorted(temps(items)) == list(range(20))
    assert gap.position == filled.position


# -- bounds -------------------------------------------------------------------------------------------


def test_block_is_late_and_complete(pair):
    with pair.theirs.subscribe(buffer=3) as sub:
        pair.mine.publish_many([reading(n) for n in range(20)])
        wait_until(lambda: here(pair.theirs) == 20)
        assert temps(sub.get(timeout=10) for _ in range(20)) == list(range(20))
        assert sub.dropped == 0


def test_drop_oldest_goes_on_with_the_newest_and_says_how_many_it_left_out(pair):
    with (
        pair.theirs.subscribe(buffer=5, overflow="drop_oldest") as told,
        pair.theirs.subscribe(buffer=5, overflow="drop_oldest") as plain,
    ):
        events = told.events(timeout=10)
        until(events, md.CaughtUp)
        pair.mine.publish_many([reading(n) for n in range(20)])
        wait_until(lambda: here(pair.theirs) == 20)
        assert next(events) == md.Dropped(15)
        assert temps(next(events) for _ in range(2)) == [15, 16]
        assert temps(plain.get(timeout=10) for _ in range(5)) == [15, 16, 17, 18, 19]
        pair.mine.publish_many([reading(n) for n in range(20, 24)])
        wait_until(lambda: here(pair.theirs) == 24)
        assert next(events) == md.Dropped(2)
        assert temps(next(events) for _ in range(5)) == [19, 20, 21, 22, 23]
        assert temps(plain.get(timeout=10) for _ in range(4)) == [20, 21, 22, 23]
        assert (told.dropped, plain.dropped) == (17, 15)


def test_error_ends_the_subscription_and_says_how_far_it_was_behind(pair):
    with pair.theirs.subscribe(buffer=5, overflow="error") as sub, pair.theirs.subscribe() as other:
        pair.mine.publish_many([reading(n) for n in range(4)])
        assert temps(sub.get(timeout=10) for _ in range(4)) == [0, 1, 2, 3]
        pair.mine.publish_many([reading(n) for n in range(4, 12)])
        wait_until(lambda: here(pair.theirs) == 12)
        for _ in range(2):
            with pytest.raises(md.FellBehind, match="larger buffer") as caught:
                sub.get(timeout=10)
            assert (caught.value.behind, caught.value.buffer) == (8, 5)
        assert temps(other.get(timeout=10) for _ in range(12)) == list(range(12))


@pytest.mark.parametrize("overflow", ["drop_oldest", "error"])
def test_the_past_that_was_asked_for_is_never_too_much(pair, overflow):
    pair.mine.publish_many([reading(n) for n in range(12)])
    with pair.theirs.subscribe(start="all", buffer=5, overflow=overflow) as sub:
        assert temps(sub.get(timeout=10) for _ in range(12)) == list(range(12))
        pair.mine.publish(reading(12))
        assert temps([sub.get(timeout=10)]) == [12]


def test_who_fails_or_never_reads_holds_nobody_up(pair):
    def failing():
        with pair.theirs.subscribe() as sub:
            pair.mine.publish(reading(0))
            sub.get(timeout=10)
            raise RuntimeError("the handler failed")

    with pair.theirs.subscribe(buffer=1), pair.theirs.subscribe() as diligent:
        with pytest.raises(RuntimeError, match="the handler failed"):
            failing()
        pair.mine.publish_many([reading(n) for n in range(1, 30)])
        assert temps(diligent.get(timeout=10) for _ in range(30)) == list(range(30))


# -- batches ------------------------------------------------------------------------------------------


def test_batches_have_the_types_of_a_query_and_the_size_asked_for(pair):
    pytest.importorskip("pyarrow")
    pair.mine.publish_many([reading(n) for n in range(7)])
    with pair.theirs.subscribe(start="all") as sub:
        batches = sub.batches(3, linger=0.05)
        found = [next(batches) for _ in range(3)]
        assert [batch.column("temp").to_pylist() for batch in found] == [[0, 1, 2], [3, 4, 5], [6]]
        assert found[0].schema.equals(pair.theirs.query().to_arrow().schema, check_metadata=False)
        full = sub.batches(2, linger=3600, meta=True)
        pair.mine.publish_many([reading(n) for n in range(2)])
        assert set(next(full).column("sender").to_pylist()) == {pair.writer.user_id}
        with pytest.raises(TimeoutError):
            next(sub.batches(timeout=0.05))
    with pytest.raises(ValueError, match="size"):
        sub.batches(0)


def test_a_batch_counts_as_handled_when_the_next_is_asked_for(pair):
    pytest.importorskip("pyarrow")

    def handle(many):
        with pair.theirs.subscribe(start="all", cursor="job") as sub:
            batches = sub.batches(2, linger=0)
            handled.extend(next(batches).column("temp").to_pylist() for _ in range(many))
            raise RuntimeError("the handler failed")

    handled: list[list[float]] = []
    pair.mine.publish_many([reading(n) for n in range(6)])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the handler failed"):
            handle(2)
    assert handled == [[0, 1], [2, 3], [2, 3], [4, 5]]


@pytest.mark.anyio
async def test_the_async_face_has_the_same(server):
    async with md.connect_async(**server.account(server.name())) as client:
        collection = await client.create_collection("x", encrypted=False)
        async with collection.subscribe() as sub:
            events = sub.events(timeout=10)
            assert isinstance(await anext(events), md.CaughtUp)
            await collection.publish({"n": 1})
            async for item in events:
                assert item.value == {"n": 1}
                break
            await collection.publish({"n": 2})
            with anyio.fail_after(10):
                batch = await anext(sub.batches(1))
            assert batch.to_pylist() == [{"n": 2}]


# -- entering and the end -----------------------------------------------------------------------------


def test_entering_returns_only_once_live(pair, behind_proxy):
    proxy, late = behind_proxy
    asked, over, entered = threading.Event(), threading.Event(), threading.Event()

    def hold(seen):
        if "sync" in seen.path:
            asked.set()
            over.wait(20)

    def enter():
        with late.subscribe() as sub:
            entered.set()
            got.append(sub.get(timeout=10).value)

    got: list[object] = []
    proxy.fault = hold
    thread = threading.Thread(target=enter)
    thread.start()
    assert asked.wait(10)
    assert not entered.is_set()
    over.set()
    assert entered.wait(20)
    pair.mine.publish(reading(1))
    thread.join(20)
    assert got == [reading(1)]


def test_a_ban_and_a_leaving_elsewhere_are_told_apart(pair):
    raw, reader = pair.raw(pair.writer), pair.raw(pair.reader)
    with pair.theirs.subscribe() as sub:
        reader.call("POST", f"rooms/{pair.room_id}/leave", {})
        with pytest.raises(md.RoomLeft) as caught:
            sub.get(timeout=10)
    assert (caught.value.by, caught.value.reason) == ("", "")
    pair.mine.invite(pair.reader.user_id)
    again = pair.reader.collection(pair.room_id)
    with again.subscribe() as sub:
        raw.call("POST", f"rooms/{pair.room_id}/ban", {"user_id": pair.reader.user_id, "reason": "no\x1b[2J"})
        with pytest.raises(md.RoomLeft) as caught:
            sub.get(timeout=10)
    assert (caught.value.by, caught.value.reason) == (pair.writer.user_id, r"no\x1b[2J")


def test_logging_the_device_out_elsewhere_ends_it_with_loggedout(pair, behind_proxy):
    proxy, late = behind_proxy
    name = pair.server.open[-1].user_id[1:].split(":")[0]
    with late.subscribe() as sub:
        pair.server.raw(name).call("POST", "logout/all", {})
        proxy.down()  # ends the long poll that is under way
        proxy.up()
        with pytest.raises(md.LoggedOut):
            sub.get(timeout=20)
