"""When a token is renewed, by whom, and what counts as being logged out; no network, on a clock that jumps."""

from __future__ import annotations

import json
from dataclasses import replace

import anyio
import pytest
import trio
import trio.testing

import matrixdata as md
from matrixdata.model.session import Session
from matrixdata.protocol import requests
from matrixdata.protocol.requests import Request
from matrixdata.transport import session as sessions
from matrixdata.transport.session import SessionTransport

ASK = Request("POST", "/ask", idempotent=False)
NOW = 1_700_000_000_000_000
FIRST = Session("http://h", "@a:h", "DEV", "a0", "r0", 300.0, NOW)


class Server:
    """Knows which tokens serve; takes `slowness` seconds for a refresh."""

    def __init__(self):
        self.good, self.refreshes = {"a0"}, {"r0": ("a1", "r1"), "r1": ("a2", "r2")}
        self.soft, self.slowness, self.lifetime_ms = True, 0.0, 300_000
        self.stillborn = False
        self.used: list[str] = []
        self.refreshed: list[str] = []
        self.fail: list[Exception] = []
        self.token: str | None = None

    def use_token(self, token):
        self.token = token

    async def send(self, request):
        token = self.token
        if request.path.endswith("/refresh"):
            return await self.refresh(json.loads(request.body)["refresh_token"])
        await anyio.sleep(0.001)
        if request.authenticated:
            self.used.append(token)
        if request.authenticated and token not in self.good:
            raise md.LoggedOut(soft=self.soft)
        return b"{}"

    async def refresh(self, token):
        self.refreshed.append(token)
        await anyio.sleep(self.slowness)
        if self.fail:
            raise self.fail.pop(0)
        if token not in self.refreshes:
            raise md.LoggedOut()
        access, following = self.refreshes[token]
        if not self.stillborn:
            self.good.add(access)
        body = {"access_token": access, "refresh_token": following, "expires_in_ms": self.lifetime_ms}
        return json.dumps(body).encode()

    async def aclose(self):
        pass


class Store:
    """A stored session; notes what was stored, and what was in use at that moment."""

    def __init__(self, session, server):
        self.stored, self.server, self.history = session, server, []
        self.full = False

    async def session(self):
        return self.stored

    async def renew_session(self, old, new):
        if self.full:
            raise md.StoreFull("no room")
        if self.stored.access_token != old.access_token:
            return False
        self.history.append((new.access_token, self.server.token))
        self.stored = new
        return True


class Lock:
    def __init__(self):
        self.holder = None

    def acquire(self):
        self.holder = self.holder or "us"
        return self.holder == "us"

    def release(self):
        self.holder = None


class World:
    def __init__(self, session=FIRST, *, now=NOW):
        self.server, self.lock = Server(), Lock()
        self.store = Store(session, self.server)
        self.now = now

    def transport(self, session=None):
        return SessionTransport(
            self.server,
            session or self.store.stored,
            keeper=self.store,
            lock=self.lock,
            clock=lambda: self.now,
        )


def play(scenario):
    """Run a scenario on trio's clock, which jumps over every wait."""
    return trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


async def together(transport, count):
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(transport.send, ASK)


def test_many_requests_that_meet_an_expired_token_refresh_it_once_and_are_all_sent_again():
    async def main():
        world = World()
        world.server.good.clear()
        world.server.slowness = 1
        transport = world.transport()
        await together(transport, 20)
        assert world.server.refreshed == ["r0"]
        assert world.server.used == ["a0"] * 20 + ["a1"] * 20
        assert world.store.history == [("a1", "a0")]  # stored while the old one was still in use

    play(main)


def test_a_token_is_renewed_before_it_expires_by_the_clock_that_does_not_jump():
    async def main():
        world = World()
        transport = world.transport()
        await transport.send(ASK)
        await anyio.sleep(269)
        world.now += 365 * 86_400 * 1_000_000  # the other clock leaps
        await transport.send(ASK)
        assert world.server.refreshed == []
        await anyio.sleep(2)
        await transport.send(ASK)
        assert world.server.used == ["a0", "a0", "a1"]

    play(main)


def test_renewing_early_that_fails_keeps_the_old_token_in_use_and_is_not_tried_all_the_time():
    async def main():
        world = World()
        world.server.fail = [md.NotSent("no"), md.Unknown("perhaps"), md.RateLimited(9)]
        transport = world.transport()
        await anyio.sleep(271)
        for _ in range(16):
            await transport.send(ASK)
            await anyio.sleep(1)
        assert world.server.refreshed == ["r0"] * 4
        assert set(world.server.used[:15]) == {"a0"}
        assert world.server.used[-1] == "a1"

    play(main)


@pytest.mark.parametrize(
    ("passed", "left"), [(0, 300), (100, 200), (299, 1), (301, 0), (3e7, 0), (-5, 300), (-3e7, 300)]
)
def test_what_the_clock_says_is_never_more_than_the_lifetime_and_never_negative(passed, left):
    assert FIRST.remaining(NOW + int(passed * 1e6)) == pytest.approx(left)


def test_a_token_without_a_lifetime_is_never_renewed_early():
    assert replace(FIRST, lifetime=None).remaining(NOW + 10**15) == float("inf")


@pytest.mark.parametrize("soft", [True, False])
def test_a_refusal_of_a_token_that_is_not_the_newest_stored_means_nothing(soft):
    async def main():
        world = World()
        transport = world.transport()
        world.store.stored = replace(FIRST, access_token="a7", refresh_token="r7", device_id="NEW")
        world.server.good, world.server.soft = {"a7"}, soft
        await transport.send(ASK)
        assert world.server.used == ["a0", "a7"]
        assert world.server.refreshed == []
        assert (transport.session.device_id, transport.logged_out) == ("NEW", None)

    play(main)


def test_who_waited_for_the_lock_takes_what_its_holder_has_stored():
    async def main():
        world = World()
        world.server.good = {"a7"}
        world.lock.holder = "another process"

        async def other():
            await anyio.sleep(5)
            world.store.stored = replace(FIRST, access_token="a7")
            world.lock.release()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            await world.transport().send(ASK)
        assert world.server.refreshed == []
        assert world.lock.holder is None

    play(main)


def test_a_process_that_hangs_with_the_lock_delays_but_does_not_log_out():
    async def main():
        world = World()
        world.server.good.clear()
        world.lock.holder = "another process"
        transport = world.transport()
        with pytest.raises(md.NotSent, match="another process"):
            await transport.send(ASK)
        assert transport.logged_out is None

    play(main)


@pytest.mark.parametrize(
    "failure",
    [md.NotSent("no network"), md.Unknown("no answer"), md.Unsupported("a proxy speaks"), md.RateLimited(1)],
)
def test_a_renewal_without_an_outcome_says_that_the_request_was_not_sent_and_works_the_next_time(failure):
    async def main():
        world = World()
        world.server.good.clear()
        world.server.fail = [failure]
        transport = world.transport()
        with pytest.raises(md.NotSent):  # though it is not idempotent: nobody acted on it
            await transport.send(ASK)
        assert transport.logged_out is None
        assert world.store.history == []
        await transport.send(ASK)
        assert world.server.refreshed == ["r0", "r0"]

    play(main)


def test_tokens_that_cannot_be_stored_are_not_used():
    async def main():
        world = World()
        world.server.good.clear()
        world.store.full = True
        transport = world.transport()
        with pytest.raises(md.StoreFull):
            await transport.send(ASK)
        assert world.server.used == ["a0"]  # so the old refresh token still serves
        world.store.full = False
        await transport.send(ASK)
        assert world.server.used == ["a0", "a0", "a1"]

    play(main)


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("refresh_token", [None, "revoked"])
def test_the_end_of_the_session_is_told_as_the_server_told_it_and_ended_by_a_new_login(soft, refresh_token):
    async def main():
        world = World(replace(FIRST, refresh_token=refresh_token))
        world.server.good.clear()
        world.server.soft = soft
        transport = world.transport()
        for _ in range(3):
            with pytest.raises(md.LoggedOut) as ended:
                await transport.send(ASK)
            assert ended.value.soft == soft
        assert world.server.refreshed == ([] if refresh_token is None else ["revoked"])
        assert transport.logged_out is ended.value
        assert world.store.stored.refresh_token == refresh_token  # nothing is deleted
        assert not await transport.usable()
        world.store.stored = replace(FIRST, access_token="a7")
        world.server.good = {"a7"}
        assert await transport.usable()
        assert transport.logged_out is None
        await transport.send(ASK)

    play(main)


def test_who_rests_asks_the_server_again_once_in_a_while():
    async def main():
        world = World(replace(FIRST, refresh_token=None))
        world.server.good.clear()
        transport = world.transport()
        with pytest.raises(md.LoggedOut):
            await transport.send(ASK)
        asked = 0
        for _ in range(600):
            asked += await transport.usable()
            await anyio.sleep(1)
        assert asked == 9
        world.server.good = {"a0"}  # it had erred
        await transport.send(ASK)
        assert transport.logged_out is None

    play(main)


def test_a_logout_on_this_machine_is_not_undone_by_a_renewal_that_was_under_way():
    async def main():
        world = World()
        world.server.good.clear()
        world.server.slowness = 2
        transport = world.transport()

        async def log_out():
            await anyio.sleep(1)
            world.store.stored = replace(FIRST, access_token=None, refresh_token=None)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log_out)
            with pytest.raises(md.LoggedOut):
                await transport.send(ASK)
        assert world.store.stored.access_token is None

    play(main)


def test_a_session_that_expires_faster_than_it_can_be_used_is_no_logout_and_no_endless_loop():
    async def main():
        world = World()
        world.server.good, world.server.stillborn = set(), True
        world.server.refreshes = {f"r{n}": (f"a{n + 1}", f"r{n + 1}") for n in range(99)}
        transport = world.transport()
        with pytest.raises(md.NotSent, match="expires"):
            await transport.send(ASK)
        assert len(world.server.refreshed) == sessions._REPLAYS

    play(main)


def test_a_request_given_up_in_the_middle_of_a_renewal_still_stores_what_it_got():
    async def main():
        world = World()
        world.server.good.clear()
        world.server.slowness = 2
        transport = world.transport()
        with anyio.move_on_after(1):
            await transport.send(ASK)
        assert world.store.stored.access_token == transport.session.access_token == "a1"
        assert world.lock.holder is None

    play(main)


def test_what_needs_no_login_is_sent_as_it_is():
    async def main():
        world = World()
        world.server.good.clear()
        await world.transport().send(requests.versions())
        assert world.server.used == []

    play(main)


def test_no_representation_shows_a_token():
    async def main():
        world = World()
        first = replace(FIRST, access_token="syt_secret", refresh_token="syr_secret")
        shown = (
            repr(world.transport(first)) + repr(first) + repr(sessions.Refreshed("syt_secret", "syr_secret"))
        )
        assert "secret" not in shown

    play(main)
