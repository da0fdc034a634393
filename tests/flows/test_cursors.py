"""Named cursors: one owner at a time, and what was handed out but not handled comes again."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import anyio
import pytest

import matrixdata as md
from tests.interrupts import Interrupted, interrupts
from tests.servers import SCHEMA, wait_until

pytestmark = pytest.mark.server


def reading(number):
    return {"device": "d", "temp": number}


def temps(sub, many):
    return [sub.get(timeout=10).value["temp"] for _ in range(many)]


@pytest.fixture
def collection(server):
    client = server.connect(server.name("reader"))
    return client.create_collection("greenhouse", schema=SCHEMA, encrypted=False)


def test_a_cursor_has_one_subscription_at_a_time(collection):
    with collection.subscribe(cursor="job"):
        with pytest.raises(md.CursorLocked, match="another cursor name"):
            collection.subscribe(cursor="job").__enter__()
        with collection.subscribe(cursor="another"), collection.subscribe():
            pass
    with collection.subscribe(cursor="job"):
        pass


def test_closing_the_client_frees_its_cursors(server):
    name = server.name("reader")
    client = server.connect(name)
    collection = client.create_collection("greenhouse", encrypted=False)
    collection.subscribe(cursor="job").__enter__()
    client.close()
    with server.connect(name).collection("greenhouse").subscribe(cursor="job"):
        pass


def test_entering_that_fails_frees_the_cursor(collection):
    elsewhere = md.Position(1, "another")
    with pytest.raises(md.MatrixDataError, match="rebuilt"):
        collection.subscribe(start=elsewhere, cursor="job").__enter__()
    with collection.subscribe(cursor="job"):
        pass


def test_only_what_was_in_hand_when_the_handler_failed_comes_again(collection):
    def handle(limit):
        with collection.subscribe(start="all", cursor="job") as sub:
            for record in sub:
                handled.append(record.value["temp"])
                if record.value["temp"] == limit:
                    raise RuntimeError("the handler failed")

    handled: list[int] = []
    collection.publish_many([reading(n) for n in range(5)])
    for limit in (2, 4):
        with pytest.raises(RuntimeError, match="the handler failed"):
            handle(limit)
    assert handled == [0, 1, 2, 2, 3, 4]


def test_leaving_the_block_counts_the_last_record_as_handled(collection):
    collection.publish_many([reading(n) for n in range(6)])
    got = []
    for _ in range(3):
        with collection.subscribe(start="all", cursor="job") as sub:
            for record in sub:
                got.append(record.value["temp"])
                if len(got) % 2 == 0:
                    break
    assert got == list(range(6))


def test_take_hands_out_as_one(collection):
    collection.publish_many([reading(n) for n in range(6)])
    with suppress(KeyError), collection.subscribe(start="all", cursor="job") as sub:
        assert len(sub.take()) == 6
        raise KeyError
    with collection.subscribe(cursor="job") as sub:
        assert temps(sub, 6) == list(range(6))


@pytest.mark.anyio
async def test_a_record_counts_as_handled_when_the_next_is_asked_for_on_the_async_face(server):
    async with md.connect_async(**server.account(server.name())) as client:
        collection = await client.create_collection("x", encrypted=False)
        await collection.publish_many([{"n": n} for n in range(4)], wait="synced")
        with suppress(KeyError):
            async with collection.subscribe(start="all", cursor="job") as sub:
                assert [(await sub.get()).value["n"] for _ in range(3)] == [0, 1, 2]
                raise KeyError
        async with collection.subscribe(cursor="job") as sub:
            with anyio.move_on_after(0):
                await sub.get()  # cancelled before it could give anything
            assert [(await sub.get()).value["n"] for _ in range(2)] == [2, 3]


def following(items):
    # Not next(items): between a function of C and what it returns to, Python lets an interrupt in.
    for item in items:
        return [item]
    raise AssertionError("it ended without a reason")


FACES = {
    "get": lambda sub: [sub.get(timeout=10)],
    "for": following,
    "take": lambda sub: sub.take(),
    "events": lambda sub: following(sub.events(timeout=10)),
}


@pytest.mark.parametrize(
    ("face", "cursor"), [("get", "job"), ("for", None), ("take", None), ("events", "job")]
)
def test_interrupts_at_any_moment_lose_no_record_and_double_none(collection, face, cursor):
    collection.publish_many([reading(n) for n in range(60)])
    read = FACES[face]
    got, count = [], 0
    with collection.subscribe(start="all", cursor=cursor, buffer=5) as sub, interrupts(7) as armed:
        while len(got) < 60:
            found = []
            try:
                armed[0] = True
                found = read(sub)
                armed[0] = False
            except Interrupted:
                armed[0] = False
                count += 1
            got += [item.value["temp"] for item in found if isinstance(item, md.Record)]
    assert got == list(range(60))
    assert count, "nothing was interrupted"


def test_threads_that_share_a_subscription_do_not_end_each_others_waiting(collection):
    got = []
    with collection.subscribe(start="new") as sub:
        threads = [
            threading.Thread(target=lambda: got.append(sub.get(timeout=20).value["temp"])) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for number in range(2):
            collection.publish(reading(number), wait="sent")
        for thread in threads:
            thread.join()
    assert sorted(got) == [0, 1]


def test_an_interrupted_entering_leaves_the_cursor_free(server):
    proxy = server.proxy()
    client = server.connect(server.name(), url=proxy.url)
    collection = client.create_collection("x", encrypted=False)
    held = []

    def hold(seen):
        if "/messages" in seen.path and not held:
            held.append(seen)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            wait_until(lambda: over)

    over: list[bool] = []
    proxy.fault = hold
    with pytest.raises(KeyboardInterrupt):
        collection.subscribe(cursor="job").__enter__()
    over.append(True)
    with collection.subscribe(cursor="job"):
        pass


# -- edges of start= ----------------------------------------------------------------------------------


def test_a_position_ahead_of_the_replica_is_refused(collection):
    with collection.subscribe() as sub:
        collection.publish(reading(1))
        here = sub.get(timeout=10).position
    with pytest.raises(md.MatrixDataError, match="ahead"):
        collection.subscribe(start=md.Position(here.change + 10_000, here.replica)).__enter__()


def test_a_time_to_come_has_no_past(collection):
    collection.publish_many([reading(n) for n in range(3)])
    with collection.subscribe(start=datetime.now(UTC) + timedelta(days=1)) as sub:
        collection.publish(reading(3))
        assert temps(sub, 1) == [3]


def test_a_bound_or_a_policy_that_is_none_raises_at_the_call(collection):
    for wrong in ({"buffer": 0}, {"buffer": True}, {"buffer": 1.5}, {"overflow": "drop"}, {"overflow": None}):
        with pytest.raises(ValueError, match="it takes"):
            collection.subscribe(**wrong)
