"""Retries and rate limits, on a clock that jumps: how long it waits, what it repeats, when it gives up."""

from __future__ import annotations

import math

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import matrixdata as md
from matrixdata.protocol.requests import Request
from matrixdata.transport.caller import Backoff, Caller, RateLimit

IDEMPOTENT = Request("PUT", "/send/txn")
ONCE = Request("POST", "/createRoom", idempotent=False)


class Script:
    """A transport that plays outcomes, the last one for ever, and notes when it was asked."""

    def __init__(self, *outcomes):
        self.outcomes, self.times = list(outcomes), []

    async def send(self, request):
        assert request in {IDEMPOTENT, ONCE}
        self.times.append(anyio.current_time())
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def pauses(self):
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


def run(script, request=IDEMPOTENT, *, chance=lambda: 0.5, **options):
    """The outcome of one call, and the seconds it took, on trio's clock that jumps over every wait."""

    async def main():
        started = anyio.current_time()
        try:
            result = await Caller(script, chance=chance).call(request, **options)
        except md.MatrixDataError as error:
            result = error
        return result, anyio.current_time() - started

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("failure", [md.NotSent("no"), md.Unknown("perhaps")])
def test_failures_are_retried_after_growing_jittered_pauses(failure):
    script = Script(failure, failure, failure, failure, b"{}")
    assert run(script)[0] == b"{}"
    assert script.pauses == pytest.approx([0.15, 0.3, 0.6, 1.2])


@given(attempt=st.integers(1, 10**6), chance=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_between_half_and_all_of_its_ceiling_and_never_beyond_the_longest(attempt, chance):
    pause = Backoff(first=0.2, most=30).delay(attempt, lambda: chance)
    ceiling = min(30, 0.2 * 2 ** min(attempt - 1, 100))
    assert ceiling / 2 <= pause <= ceiling


def test_patience_is_the_whole_time_and_the_last_reason_is_raised():
    result, took = run(Script(md.NotSent("no")), patience=5)
    assert isinstance(result, md.NotSent)
    assert 2 < took <= 5
    result, took = run(Script(md.Unknown("perhaps")), patience=0)
    assert isinstance(result, md.Unknown)
    assert took == 0


def test_what_must_not_be_sent_twice_is_not_after_an_unknown_outcome_but_is_when_nothing_left():
    script = Script(md.NotSent("no"), md.Unknown("perhaps"), b"{}")
    assert isinstance(run(script, ONCE)[0], md.Unknown)
    assert len(script.times) == 2
    script = Script(md.RateLimited(0.5), b"{}")
    assert run(script, ONCE)[0] == b"{}"


@pytest.mark.parametrize(
    "refusal", [md.Rejected("M_FORBIDDEN"), md.LoggedOut(), md.Unsupported("x"), md.RoomLeft("!r")]
)
def test_refusals_are_raised_at_once(refusal):
    script = Script(refusal)
    result, took = run(script)
    assert (result, took, len(script.times)) == (refusal, 0, 1)


@pytest.mark.parametrize("asked", [0.0, 0.8, 3.0, 20.0])
def test_a_rate_limit_is_waited_out_and_a_little_longer(asked):
    script = Script(md.RateLimited(asked), b"{}")
    assert run(script)[0] == b"{}"
    (pause,) = script.pauses
    assert asked < pause <= asked * 1.1 + 0.03


@pytest.mark.parametrize("asked", [1e9, math.inf, 31.0])
def test_a_wait_beyond_patience_is_raised_at_once_with_its_length(asked):
    script = Script(md.RateLimited(asked))
    result, took = run(script, patience=30)
    assert isinstance(result, md.RateLimited)
    assert 31 <= result.retry_after <= RateLimit.LONGEST * 1.1 + 1
    assert (took, len(script.times)) == (0, 1)


def test_a_storm_of_limits_is_no_busy_loop():
    script = Script(md.RateLimited(0.0))
    run(script, patience=10)
    assert len(script.times) < 15


def test_one_limit_holds_every_call_back():
    async def main():
        script = Script(md.RateLimited(2.0), b"{}")
        caller = Caller(script, chance=lambda: 0.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller.call, IDEMPOTENT)
            await anyio.wait_all_tasks_blocked()
            assert caller.limits["other"].remaining > 1.9
            assert caller.held_back > 1.9
            for _ in range(5):
                tasks.start_soon(caller.call, IDEMPOTENT)
        return script.times

    first, *later = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(later) == 6
    assert min(later) - first >= 2.0


def test_a_shorter_limit_does_not_shorten_a_longer_one():
    async def main():
        limit = RateLimit()
        limit.hit(10, lambda: 0.0, Backoff())
        limit.hit(1, lambda: 0.0, Backoff())
        return limit.remaining

    assert trio.run(main, clock=trio.testing.MockClock()) == pytest.approx(10.02)


def test_whether_the_server_is_reached_is_remembered():
    async def main():
        caller = Caller(Script(md.NotSent("no"), b"{}"), chance=lambda: 0.5)
        with pytest.raises(md.NotSent):
            await caller.call(IDEMPOTENT, patience=0)
        assert isinstance(caller.failing, md.NotSent)
        await caller.call(IDEMPOTENT)
        assert caller.failing is None

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
