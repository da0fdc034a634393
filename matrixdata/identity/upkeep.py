"""The background of trust: this device gets signed, room keys get backed up, our own devices get what they ask for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from matrixdata.encryption import backup, inbound, recovery_key
from matrixdata.errors import (
    LoggedOut,
    MatrixDataError,
    NotFound,
    NotSent,
    Tampered,
    Unknown,
    WrongKey,
)
from matrixdata.identity import backups, own, recovery
from matrixdata.identity.situation import OF_IDENTITY, situation
from matrixdata.model.hidden import HiddenText
from matrixdata.transport.caller import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.encryption.port import Received
    from matrixdata.identity.desk import Desk
    from matrixdata.identity.gossip import Gossip
    from matrixdata.identity.situation import Situation
    from matrixdata.identity.verifying import Verifications
    from matrixdata.model.unlock import Unlock

log = logging.getLogger("matrixdata.identity")

# Seconds: between two looks when nothing happens; for which news is gathered; until a decided refusal is tried again.
_REST = 60.0
_GATHER = 0.3
_LATER = 600.0


class Upkeep:
    """Sees to it in the background that this device is, and stays, what others can trust.

    Attributes:
        turn: held while secrets are changed, by us or by the user's own calls.
        problem: why it is not; "" when all is well.
        settled: set once it was tried.
        refused: why the recovery key that was given does not serve; None where it does, or was not tried yet.
    """

    def __init__(
        self,
        desk: Desk,
        verifications: Verifications,
        gossip: Gossip,
        unlock: Unlock,
        *,
        chance: Callable[[], float],
    ) -> None:
        self._desk = desk
        self._verifications = verifications
        self._gossip = gossip
        self._unlock = unlock
        self._chance = chance
        self._wake = anyio.Event()
        self._tried_recovery = False
        self._set_up = False
        self._asked_for_backup = False
        self.turn = anyio.Lock()
        self.problem = ""
        self.refused: MatrixDataError | None = None
        self.settled = anyio.Event()
        desk.caller.on_recovery.append(self.wake)

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    async def received(self, received: Received) -> None:
        """The engine learnt something."""
        if received.waiting or received.sessions or self._desk.user_id in received.users:
            self.wake()

    async def is_settled(self) -> bool:
        """Whether there is nothing left to settle; asks no server."""
        return (await self._desk.read(situation)).settled

    async def run(self) -> None:
        """Go round, and again when woken, for as long as it is not cancelled."""
        backoff, failures = Backoff(), 0
        while True:
            self._wake = anyio.Event()
            pause = _REST
            try:
                await self.round()
                failures, self.problem = 0, ""
            except (NotSent, Unknown) as error:
                failures, self.problem = failures + 1, str(error)
                pause = max(backoff.delay(failures, self._chance), getattr(error, "retry_after", 0.0))
                log.info("keys are looked after later (%s); again in %.1f s", error, pause)
            except LoggedOut:
                self.problem = ""  # which the client says itself
            except (MatrixDataError, OSError) as error:
                self.problem, pause = str(error), _LATER
                log.warning("keys cannot be looked after: %s", error)
            self.settled.set()
            with anyio.move_on_after(pause):
                await self._wake.wait()
                await anyio.sleep(_GATHER)

    async def round(self) -> None:
        """Once: settle this device, answer what arrived, back up what is new."""
        password = self._unlock.password
        async with self.turn:
            now = await own.ensure(
                self._desk, password=HiddenText(password.text) if password is not None else None
            )
            now = await self._unlocked(now)
            self.settled.set()
            await self._keep_recoverable(now)
        await self._verifications.attend()
        if await self._gossip.attend():
            await self._complete()
        await self._back_up()

    async def _unlocked(self, now: Situation) -> Situation:
        """Recover what is not here, with what there is to do it with: once for each start."""
        if self._tried_recovery or now.held >= OF_IDENTITY:
            return now
        given, own_recovery = self._unlock.recovery_key, self._unlock.own_recovery
        if given is not None:
            try:
                await recovery.recover(self._desk, HiddenText(given.text))
            except (NotFound, WrongKey, Tampered) as error:
                self._tried_recovery, self.refused = True, error
                if self._unlock.insists:
                    raise
                log.info("the recovery key at hand is not this account's: %s", error)
        elif own_recovery is not None:
            try:
                await recovery.recover(self._desk, HiddenText(recovery_key.shown(own_recovery())))
            except (NotFound, WrongKey, Tampered) as error:
                log.info("this account's recovery is not the embedded server's own: %s", error)
        self._tried_recovery = True
        now = await self._desk.read(situation)
        if not now.signed:
            log.warning(
                "this device is not signed by the identity of %s, so that others give it no keys; "
                "client.keys.recover(recovery_key) or client.keys.verify() mends that",
                self._desk.user_id,
            )
        return now

    async def _keep_recoverable(self, now: Situation) -> None:
        """Accounts of an embedded homeserver can always be recovered: their further devices need nobody."""
        if self._set_up or self._unlock.own_recovery is None or not now.held >= OF_IDENTITY:
            return
        if not await recovery.is_set_up(self._desk):
            await recovery.set_up(self._desk, key=self._unlock.own_recovery())
        self._set_up = True

    async def _complete(self) -> None:
        """A private key came from another device: use it."""
        await own.ensure(self._desk)
        found = await backups.adopt(self._desk)
        if found is not None and found.has_secret:
            await backups.restore(self._desk)

    async def _back_up(self) -> None:
        if not await self._desk.read(lambda tx: inbound.needs_backup(tx, _version(backup.current(tx)), 1)):
            return
        if not self._asked_for_backup:
            await backups.adopt(self._desk)
            self._asked_for_backup = True
        await backups.fill(self._desk)


def _version(current: backup.Backup | None) -> str:
    return current.version if current is not None else ""
