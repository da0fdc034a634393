"""Subscriptions: what is published after entering is delivered, in order, to the slow as to the quick."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import anyio
import pytest

import matrixdata as md
from tests.servers import CUT, SCHEMA, wait_until

pytestmark = pytest.mark.server


def reading(number):
    return {"device": "d", "temp": number}


def temps(sub, many, timeout=10):
    return [sub.get(timeout=timeout).value["temp"] for _ in range(many)]


def nothing_more(sub):
    with pytest.raises(TimeoutError):
        sub.get(timeout=0.15)


def test_what_is_published_right_after_entering_is_always_delivered(pair):
    for attempt in range(8):
        with pair.theirs.subscribe() as sub:
            pair.mine.publish(reading(attempt), wait="queued")
            assert temps(sub, 1) == [attempt]


def test_new_starts_now_and_all_starts_at_the_beginning_and_both_go_on(pair):
    pair.mine.publish_many([reading(n) for n in range(3)])
    with pair.theirs.subscribe() as new, pair.theirs.subscribe(start="all") as everything:
        pair.mine.publish_many([reading(n) for n in range(3, 6)])
        assert temps(new, 3) == [3, 4, 5]
        assert temps(everything, 6) == [0, 1, 2, 3, 4, 5]
        nothing_more(new)
        nothing_more(everything)


def test_a_position_goes_on_after_that_record(pair):
    with pair.theirs.subscribe() as sub:
        pair.mine.publish_many([reading(n) for n in range(3)])
        second = [sub.get(timeout=10) for _ in range(3)][1]
    token = str(second.position)
    with pair.theirs.subscribe(start=md.Position.parse(token)) as sub:
        assert temps(sub, 1) == [2]
        nothing_more(sub)
    with pytest.raises(md.MatrixDataError, match="rebuilt"):
        pair.theirs.subscribe(start=md.Position(1, "another")).__enter__()


def test_a_datetime_starts_by_the_records_time(server):
    client = server.connect(server.name())
    collection = client.create_collection("timed", time="ts", encrypted=False)
    day = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [{"ts": (day + timedelta(hours=n)).isoformat(), "temp": n} for n in (5, 1, 4, 2)]
    collection.publish_many(rows)
    with collection.subscribe(start=day + timedelta(hours=2)) as sub:
        assert temps(sub, 3) == [5, 4, 2]
        collection.publish({"ts": day.isoformat(), "temp": 0})
        assert temps(sub, 1) == [0], "what comes is new, whatever its time"
    with pytest.raises(ValueError, match="time zone"):
        collection.subscribe(start=datetime(2026, 1, 1))


def test_a_start_that_is_none_raises_at_the_call(pair):
    for start in ("tomorrow", 5, None):
        with pytest.raises((ValueError, TypeError), match="start"):
            pair.theirs.subscribe(start=start)


def test_a_slow_subscriber_is_late_and_misses_nothing(pair):
    with pair.theirs.subscribe() as slow, pair.theirs.subscribe() as quick:
        pair.mine.publish_many([reading(n) for n in range(60)])
        assert temps(quick, 60) == list(range(60))
        assert temps(slow, 60) == list(range(60))


def test_a_subscriber_may_query_while_it_reads_the_past(pair):
    pair.mine.publish_many([reading(n) for n in range(5)])
    with pair.theirs.subscribe(start="all") as one, pair.theirs.subscribe(start="all") as two:
        for expected in range(5):
            assert temps(one, 1) == temps(two, 1) == [expected]
            assert pair.theirs.query(timeout=0).count() == 5


def test_iterating_take_and_get_give_the_same_records_once(pair):
    with pair.theirs.subscribe() as sub:
        pair.mine.publish_many([reading(n) for n in range(9)])
        wait_until(lambda: pair.theirs.query(timeout=0).count() == 9)
        got = [next(sub).value["temp"], *temps(sub, 1)]
        while len(got) < 9:
            taken = sub.take()
            assert taken
            got += [record.value["temp"] for record in taken]
        assert got == list(range(9))
        nothing_more(sub)


def test_a_timeout_raises_and_the_subscription_goes_on(pair):
    with pair.theirs.subscribe() as sub:
        with pytest.raises(TimeoutError):
            sub.get(timeout=0.05)
        pair.mine.publish(reading(1))
        assert temps(sub, 1) == [1]


def test_a_cursor_goes_on_after_a_restart_without_loss(pair):
    name = pair.reader.user_id[1:].split(":")[0]
    with pair.theirs.subscribe(cursor="job") as sub:
        pair.mine.publish_many([reading(n) for n in range(4)])
        assert temps(sub, 2) == [0, 1]
    pair.reader.close()
    pair.mine.publish_many([reading(n) for n in range(4, 6)])
    again = pair.server.connect(name).collection(pair.room_id)
    with again.subscribe(cursor="job") as sub:
        assert temps(sub, 4) == [2, 3, 4, 5]
        nothing_more(sub)
    with again.subscribe(cursor="another") as sub:
        nothing_more(sub)


def test_a_cursor_repeats_what_was_being_handled_when_its_handler_failed(pair):
    def failing():
        with pair.theirs.subscribe(cursor="job") as sub:
            pair.mine.publish_many([reading(n) for n in range(3)])
            for record in sub:
                if record.value["temp"] == 1:
                    raise RuntimeError("the handler failed")

    with pytest.raises(RuntimeError, match="the handler failed"):
        failing()
    with pair.theirs.subscribe(cursor="job") as sub:
        got = temps(sub, 1)
        while got[-1] != 2:
            got += temps(sub, 1)
    assert 1 in got


def test_a_cursor_with_start_all_begins_with_the_past_once(pair):
    pair.mine.publish_many([reading(n) for n in range(3)])
    with pair.theirs.subscribe(start="all", cursor="job") as sub:
        assert temps(sub, 3) == [0, 1, 2]
        pair.mine.publish(reading(3))
        assert temps(sub, 1) == [3]
    pair.mine.publish(reading(4))
    with pair.theirs.subscribe(start="all", cursor="job") as sub:
        assert temps(sub, 1) == [4]


def test_who_is_kicked_is_told_so_and_keeps_what_was_received(pair):
    with pair.theirs.subscribe() as sub:
        pair.mine.publish(reading(1))
        assert temps(sub, 1) == [1]
        pair.raw(pair.writer).kick(pair.room_id, pair.reader.user_id)
        with pytest.raises(md.RoomLeft) as caught:
            sub.get(timeout=10)
    assert caught.value.room_id == pair.room_id
    assert pair.theirs.query(on_incomplete="ignore").values() == [reading(1)]
    with pytest.raises(md.Rejected):
        pair.theirs.publish(reading(2))


def test_closing_the_client_in_another_thread_ends_iteration_with_clientclosed(pair):
    with pair.theirs.subscribe() as sub:
        threading.Timer(0.2, pair.reader.close).start()
        with pytest.raises(md.ClientClosed):
            for _ in sub:
                pass


def test_a_long_history_read_in_many_calls_comes_whole(server, monkeypatch):
    from matrixdata.replica import scan

    monkeypatch.setattr(scan, "_PAGE", 7)
    client = server.connect(server.name())
    collection = client.create_collection("long", schema=SCHEMA, encrypted=False)
    collection.publish_many([reading(n) for n in range(30)])
    for _ in range(6):  # more than there are idle readers
        sub = collection.subscribe(start="all")
        sub.__enter__()
        assert temps(sub, 10) == list(range(10))
    with collection.subscribe(start="all") as sub:
        assert temps(sub, 30) == list(range(30))
        collection.publish(reading(30))
        assert temps(sub, 1) == [30]
    query = collection.query()
    assert [record.value["temp"] for record in query] == list(range(31))


def test_what_somebodys_sync_fetched_from_the_past_is_not_new(pair, monkeypatch):
    from matrixdata.receiving import sources

    monkeypatch.setattr(sources, "TIMELINE_LIMIT", 5)
    pair.mine.publish_many([reading(n) for n in range(30)])
    proxy = pair.server.proxy()
    proxy.fault = lambda seen: CUT if "/messages" in seen.path and "from=" in seen.path else None
    name = pair.server.name("late")
    pair.mine.invite(pair.server.user_id(name))
    late = pair.server.connect(name, url=proxy.url).collection(pair.room_id)
    with late.subscribe() as sub:
        proxy.fault = lambda _: None
        late.sync()
        assert late.query().count() == 30
        pair.mine.publish(reading(30))
        assert temps(sub, 1) == [30]
        nothing_more(sub)


def test_what_was_missed_while_offline_is_delivered_when_the_network_is_back(pair, monkeypatch):
    from matrixdata.receiving import sources

    monkeypatch.setattr(sources, "TIMELINE_LIMIT", 5)
    proxy = pair.server.proxy()
    name = pair.server.name("late")
    pair.mine.invite(pair.server.user_id(name))
    late = pair.server.connect(name, url=proxy.url).collection(pair.room_id)
    with late.subscribe() as sub:
        proxy.down()
        pair.mine.publish_many([reading(n) for n in range(20)])
        proxy.up()
        assert sorted(temps(sub, 20, timeout=30)) == list(range(20))
        nothing_more(sub)


@pytest.mark.anyio
async def test_many_async_subscribers_are_served_under_asyncio_and_trio(server):
    async with md.connect_async(**server.account(server.name())) as client:
        collection = await client.create_collection("many", encrypted=False)
        got = []

        async def one(started):
            async with collection.subscribe() as sub:
                started()
                async for record in sub:
                    got.append(record.value["n"])
                    if record.value["n"] == 2:
                        return

        count = [0]
        ready = anyio.Event()

        def started():
            count[0] += 1
            if count[0] == 30:
                ready.set()

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(30):
                    tasks.start_soon(one, started)
                await ready.wait()
                for number in range(3):
                    await collection.publish({"n": number})
        assert sorted(got) == sorted([0, 1, 2] * 30)


@pytest.mark.anyio
async def test_closing_an_async_client_ends_its_subscriptions_with_clientclosed(server):
    async with md.connect_async(**server.account(server.name())) as client:
        collection = await client.create_collection("x", encrypted=False)
        async with collection.subscribe() as sub, anyio.create_task_group() as tasks:

            async def reads():
                with pytest.raises(md.ClientClosed):
                    async for _ in sub:
                        pass

            tasks.start_soon(reads)
            await anyio.wait_all_tasks_blocked()
            await client.close()
