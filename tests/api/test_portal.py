"""What carries the blocking face's calls to the client's thread survives an interrupt at any moment."""

from __future__ import annotations

import threading

import anyio
import pytest

import matrixdata as md
from matrixdata.connect.portal import Call, Portal
from tests.interrupts import Interrupted, interrupts


@pytest.fixture
def portal():
    portal = Portal()
    yield portal
    portal.close()


async def answer(number):
    await anyio.sleep(0.0002 * (number % 8))
    return number


def test_thousands_of_interrupts_mix_up_no_answers_and_leave_it_usable(portal):
    count = 0
    with interrupts(1) as armed:
        for number in range(5_000):
            try:
                armed[0] = True
                assert portal.call(answer, number) == number
                armed[0] = False
            except Interrupted:
                armed[0] = False
                count += 1
    assert count > 100
    assert portal.call(answer, 7) == 7


def test_a_call_that_was_interrupted_has_ended_once_it_is_dropped(portal):
    at_work = 0

    async def work():
        nonlocal at_work
        at_work += 1
        try:
            await anyio.sleep(0.002)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.002)
            at_work -= 1

    with interrupts(2) as armed:
        for _ in range(300):
            call = Call(work)
            try:
                armed[0] = True
                portal.run(call)
                armed[0] = False
            except Interrupted:
                armed[0] = False
            portal.drop(call)
            assert at_work == 0


def test_an_error_is_the_callers_and_what_comes_after_closing_is_refused(portal):
    async def fail():
        raise md.NotFound("nothing here")

    with pytest.raises(md.NotFound, match="nothing here"):
        portal.call(fail)
    portal.close()
    with pytest.raises(md.ClientClosed):
        portal.call(answer, 1)


def test_closing_ends_a_call_that_is_under_way(portal):
    begun = threading.Event()

    async def wait():
        begun.set()
        await anyio.sleep_forever()

    def close():
        begun.wait()
        portal.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(md.ClientClosed, match="under way"):
        portal.call(wait)
    closing.join()
