"""What a client has for trust: `client.keys`, and the background that sees to this device's standing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from matrixdata.errors import MatrixDataError
from matrixdata.identity.desk import Desk
from matrixdata.identity.gossip import Gossip
from matrixdata.identity.keys import AsyncKeys
from matrixdata.identity.upkeep import Upkeep
from matrixdata.identity.verifying import Verifications

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.carrier import Courier
    from matrixdata.carrier import Keys as Engines
    from matrixdata.client.composition import Environment
    from matrixdata.model.session import Session
    from matrixdata.model.unlock import Unlock
    from matrixdata.transport.caller import Caller

log = logging.getLogger("matrixdata")

# Seconds that opening a client waits for a new device to be signed, so that what is published next finds its readers;
# and, where a recovery key was given, for what it unlocks.
_PATIENCE = 5.0
_RECOVERY = 120.0


class Trust:
    """What one open client has for it.

    Args:
        listen: makes the client sync, so that what others send this device arrives.
        check: raises if the client cannot be used any more.
    """

    def __init__(
        self,
        engines: Engines,
        courier: Courier,
        caller: Caller,
        unlock: Unlock,
        world: Environment,
        *,
        who: Callable[[], Session],
        listen: Callable[[], None],
        check: Callable[[], None],
    ) -> None:
        desk = Desk(engines, courier, caller, who=who, clock=world.clock, new_id=world.new_id)
        gossip = Gossip(desk)
        verifications = Verifications(desk, gossip)
        self._engines = engines
        self._unlock = unlock
        self.upkeep = Upkeep(desk, verifications, gossip, unlock, chance=world.chance)
        self.keys = AsyncKeys(desk, verifications, self.upkeep, listen=listen, check=check)
        engines.on_received.append(self.upkeep.received)

    @property
    def problem(self) -> str | None:
        """What is wrong with the keys, where only the user can mend it; None when nothing is known."""
        return self._engines.problem or None

    async def settle(self) -> None:
        """Wait a little for what a new device has to do once; offline it goes on later.

        Raises:
            WrongKey, NotFound, Tampered: the recovery key that was given for this account does not fit.
        """
        try:
            if await self.upkeep.is_settled():
                return
        except MatrixDataError as error:
            log.warning("the keys of this device cannot be used: %s", error)
            return
        given = self._unlock.recovery_key is not None and self._unlock.insists
        with anyio.move_on_after(_RECOVERY if given else _PATIENCE):
            await self.upkeep.settled.wait()
        if given and self.upkeep.refused is not None:
            raise self.upkeep.refused
