"""Sending what is queued in one room, in order, one record at a time, until nothing is left.

The same record always travels with the same transaction id and the same bytes. Each attempt is noted durably
before a byte leaves, so that after any crash it is known what may have arrived.
"""

from __future__ import annotations

import logging
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

import anyio
import msgspec

from matrixdata.errors import DeviceUntrusted, LoggedOut, NotSent, RateLimited, Rejected, Unknown, Unsupported
from matrixdata.model.steps import reached
from matrixdata.protocol.requests import send_event, whoami
from matrixdata.protocol.sync import decode
from matrixdata.replica.wire import NotBegun
from matrixdata.transport.caller import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from matrixdata.model.delivery import Reason
    from matrixdata.publishing.readback import Readback
    from matrixdata.publishing.sealing import Sealing
    from matrixdata.replica.outbox import Outbox
    from matrixdata.replica.outbox_item import OutboxItem
    from matrixdata.replica.wire import Wire
    from matrixdata.transport.caller import Caller

log = logging.getLogger("matrixdata.publishing")

# After so many attempts without an answer (some 3 s) the record may be what is wrong: the one behind it is tried,
# and if that goes through, so it is. The server being down, both fail, and nothing gets stuck for it.
_SUSPECT = 5
# After so many (some minutes) it is enough that the server answers otherwise.
_CONDEMNED = 12
# Seconds between two looks whether somebody has decided; deciding here ends the wait at once.
_DECIDING = 5.0
# So many records that wait are not sent one by one: the server, or the way there, does not keep up with them.
_CROWD = 100
# Of an event id, in characters (client-server API, "Common Identifier Format", counts bytes).
_LONGEST_ID = 255
_BACKOFF = Backoff()


class Outcome(Enum):
    """What came of trying one record."""

    SENT = auto()
    GONE = auto()  # refused and stuck, or cancelled meanwhile: the next one's turn
    LIMITED = auto()
    UNREACHABLE = auto()
    UNANSWERED = auto()
    HELD = auto()  # somebody has to decide first
    LOGGED_OUT = auto()


class _Acknowledged(msgspec.Struct):
    event_id: str


def _acknowledged(body: bytes) -> str:
    """The event id in an answer to a send; anything else says nothing of what became of the event."""
    event_id = decode(body, _Acknowledged).event_id
    if not event_id.startswith("$") or len(event_id) > _LONGEST_ID:
        raise Unknown("the server answered a send without an event id")
    return str(event_id)


class Barred(Protocol):
    """From a room id to the reason by which nothing may be sent there, None if it may."""

    def __call__(self, room_id: str, *, refused: bool = False) -> Awaitable[str | None]:
        """`refused`: the server has just declined to take something there, so it is to be asked."""
        ...


class Means(msgspec.Struct, frozen=True):
    """What rooms send with.

    Attributes:
        barred: why nothing may be sent to a room.
        turns: so many rooms send at once.
        pause: waits for some seconds, or until there is a reason to try again at once.
        pack: makes one batch of what is at the head of a room's queue and never left.
        clock: microseconds since 1970 UTC.
        chance: numbers in [0, 1), for jitter.
    """

    caller: Caller
    outbox: Outbox
    readback: Readback
    sealing: Sealing
    barred: Barred
    turns: anyio.CapacityLimiter
    pause: Pause
    pack: Callable[[str], Awaitable[object]]
    clock: Callable[[], int]
    chance: Callable[[], float]
    backoff: Backoff = _BACKOFF


class Pause:
    """Waits that end early when the server can be reached again, or somebody asks for another attempt."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    async def wait(self, seconds: float) -> None:
        """Return after some seconds, or when ended."""
        with anyio.move_on_after(max(0.0, seconds)):
            await self._event.wait()

    def end(self) -> None:
        """Let everybody go on who waits now."""
        self._event.set()
        self._event = anyio.Event()


class Drain:
    """One room's queue.

    Args:
        may_send: whether this process still sends for the store.
        on_logout: told when the session turns out to be over; then the drain ends.
    """

    def __init__(
        self,
        room_id: str,
        means: Means,
        may_send: Callable[[], bool],
        on_logout: Callable[[], None],
    ) -> None:
        self._room_id = room_id
        self._means = means
        self._may_send = may_send
        self._on_logout = on_logout

    async def run(self) -> None:
        """Send until nothing is queued, or it is not for us to send any more."""
        failures = 0
        while self._may_send():
            limit = self._means.caller.limits["send"]
            if limit.remaining or await self._means.outbox.is_crowded(self._room_id, _CROWD):
                await limit.wait()
                # Requests are what the server counts: what has been queued up meanwhile leaves in one.
                await self._means.pack(self._room_id)
            item = await self._means.outbox.head(self._room_id)
            if item is None:
                return
            pause = self._means.backoff.delay(failures + 1, self._means.chance)
            outcome = await self._tried(item, pause)
            if outcome is Outcome.LOGGED_OUT:
                return
            if outcome is Outcome.HELD:
                await self._means.pause.wait(_DECIDING)
            elif outcome in {Outcome.UNREACHABLE, Outcome.UNANSWERED}:
                failures += 1
                if outcome is Outcome.UNREACHABLE:
                    await self._means.pause.wait(pause)
                elif not await self._is_poison(item, pause):
                    await anyio.sleep(pause)
            elif outcome is not Outcome.LIMITED:
                failures = 0

    # -- one record -------------------------------------------------------------------------------------
    async def _tried(self, item: OutboxItem, pause: float) -> Outcome:
        """One attempt at one record, after a look on the server if it may be there; `pause` follows a failure."""
        again = self._means.clock() + int(pause * 1e6)
        try:
            async with self._means.turns:
                barred = await self._means.barred(item.room_id)
                doubtful = item.attempts > 0 if barred else self._means.readback.is_needed(item)
                if doubtful and await self._is_there(item):
                    return Outcome.SENT
                if barred is not None:
                    await self._means.outbox.stuck(item, barred)
                    return Outcome.GONE
        except LoggedOut:
            self._on_logout()
            return Outcome.LOGGED_OUT
        except (NotSent, Unknown) as error:
            await self._means.outbox.delayed(item, _reason(error), again=again)
            return Outcome.UNREACHABLE if isinstance(error, NotSent) else Outcome.UNANSWERED
        await self._means.caller.limits["send"].wait()
        async with self._means.turns:
            wire = await self._begun(item, again, anew=doubtful)
            return wire if isinstance(wire, Outcome) else await self._attempt(item, wire, again)

    async def _begun(self, item: OutboxItem, again: int, *, anew: bool) -> Wire | Outcome:
        """What is to be sent, noted durably; or why nothing is."""
        means = self._means
        try:
            wire = await means.sealing.begin(item, means.clock(), anew=anew)
        except LoggedOut:
            await means.outbox.delayed(item, "logged_out", again=None)
            self._on_logout()
            return Outcome.LOGGED_OUT
        except DeviceUntrusted as error:
            log.warning("records for %s are held: %s", item.room_id, error)
            await means.outbox.delayed(item, "identity_changed", again=None)
            return Outcome.HELD
        except (NotSent, Unknown) as error:
            await means.outbox.delayed(item, _reason(error), again=again)
            return Outcome.UNREACHABLE if isinstance(error, NotSent) else Outcome.UNANSWERED
        except (
            Rejected
        ) as error:  # of what has to be known before something is encrypted, as where we are no member
            return await self._refused(item, error, attempted=False)
        return Outcome.GONE if isinstance(wire, NotBegun) else wire

    async def _is_there(self, item: OutboxItem) -> bool:
        """Whether the server has it, which is noted then. A uid that stands for another record there: stuck."""
        found = await self._means.readback.find(item)
        if found is None:
            return False
        if found.same:
            await self._means.outbox.sent(item, found.event_id)
        else:
            await self._means.outbox.stuck(item, "uid_conflict")
        self._means.readback.forget(item)
        return True

    async def _attempt(self, item: OutboxItem, wire: Wire, again: int) -> Outcome:
        means = self._means
        request = send_event(item.room_id, wire.type, item.txn_id, wire.content)
        means.readback.attempted(item)
        reached("publish.3 sending")
        try:
            body = await means.caller.call(request, patience=0)
            event_id = _acknowledged(body)
            reached("publish.3 answered")
        except RateLimited as error:
            until = means.clock() + int(means.caller.limits["send"].remaining * 1e6)
            await means.outbox.came_back(item, _reason(error), again=until)
            if item.attempts == 0:
                means.readback.forget(item)  # it may leave in a batch
            return Outcome.LIMITED
        except NotSent as error:
            await means.outbox.came_back(item, _reason(error), again=again)
            return Outcome.UNREACHABLE
        except LoggedOut:
            await means.outbox.came_back(item, "logged_out")
            self._on_logout()
            return Outcome.LOGGED_OUT
        except Rejected as error:
            return await self._refused(item, error)
        except (Unknown, Unsupported):
            # Every homeserver can send: "no such endpoint" is a proxy speaking while the server is away.
            await means.outbox.delayed(item, "no_answer", again=again)
            return Outcome.UNANSWERED
        await means.outbox.sent(item, event_id)
        means.readback.forget(item)
        reached("publish.4 recorded")
        return Outcome.SENT

    async def _refused(self, item: OutboxItem, error: Rejected, *, attempted: bool = True) -> Outcome:
        """Refused now; but an earlier attempt, whose answer was lost, may have been accepted before that."""
        try:
            if item.attempts and await self._is_there(item):
                return Outcome.SENT
        except (NotSent, Unknown) as failure:
            if attempted:
                await self._means.outbox.came_back(item, _reason(failure))
            return Outcome.UNANSWERED
        log.warning("record %s was refused: %s", item.uid, error)
        # An upgrade closes a room to members without much power: that is the reason then.
        reason = await self._means.barred(item.room_id, refused=True) or error.errcode
        await self._means.outbox.stuck(item, reason, refused=attempted)
        self._means.readback.forget(item)
        return Outcome.GONE

    # -- records that a server fails on -----------------------------------------------------------------
    async def _is_poison(self, item: OutboxItem, pause: float) -> bool:
        """Whether the record and not the server is what fails; then it is stuck, and was looked for before."""
        attempts = item.attempts + 1
        if attempts < _SUSPECT or not await self._others_go_through(item, attempts, pause):
            return False
        # The server may have recovered between the two: only what fails on a server that is well is at fault.
        last = await self._tried(item, pause)
        if last is not Outcome.UNANSWERED:
            return last in {Outcome.SENT, Outcome.GONE}
        try:
            if await self._is_there(item):
                return True
        except (NotSent, Unknown, LoggedOut):
            return False
        log.warning("the server fails on record %s and takes others; it is set aside", item.uid)
        await self._means.outbox.stuck(item, "server_error")
        self._means.readback.forget(item)
        return True

    async def _others_go_through(self, item: OutboxItem, attempts: int, pause: float) -> bool:
        follower = await self._means.outbox.follower(item)
        if follower is not None and await self._tried(follower, pause) is Outcome.SENT:
            return True
        if attempts < _CONDEMNED:
            return False
        try:
            # Not /versions: that is answered without the database, whose failure would make every record look bad.
            await self._means.caller.call(whoami(), patience=0)
        except (NotSent, Unknown, Unsupported, Rejected):
            return False
        return True


def _reason(error: NotSent | Unknown) -> Reason:
    if isinstance(error, RateLimited):
        return "rate_limited"
    return "unreachable" if isinstance(error, NotSent) else "no_answer"
