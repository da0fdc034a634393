"""How the keys of this device are: what is there, what is missing, and what would mend it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import anyio

from matrixdata.encryption import backup
from matrixdata.errors import MatrixDataError
from matrixdata.identity import own, recovery
from matrixdata.identity.fleet import shown
from matrixdata.identity.situation import OF_IDENTITY, Situation, situation

if TYPE_CHECKING:
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.identity.desk import Desk

# Seconds for which the server is asked; what is known here is told anyway.
_PATIENCE = 3.0

Identity = Literal["none", "unsigned", "signed", "held", "changed"]


@dataclass(frozen=True, slots=True)
class KeysStatus:
    """The keys of one device.

    Attributes:
        fingerprint: this device's public key in groups of four, as others can compare it.
        identity: "held": the account's private keys are here. "signed": they are not, and this device is signed by
            them, which is all that a publisher needs. "unsigned": the account has an identity that did not sign this
            device. "none": it has none yet. "changed": the server gives another identity than before.
        recovery: whether the account has a recovery key; None: the server was not reached.
        backup: version of the key backup that is written to; None: there is none, or it is not trusted.
        sessions: room keys on this device, backed_up: how many of them are in the backup.
        advice: what to do; "" when nothing is.
    """

    user_id: str
    device_id: str
    fingerprint: str
    identity: Identity
    recovery: bool | None
    backup: str | None
    sessions: int
    backed_up: int
    advice: str

    def __str__(self) -> str:
        """All of it, a line each."""
        said = {True: "set up", False: "not set up", None: "not known: the server was not reached"}
        lines = [
            f"{self.user_id}, device {self.device_id}",
            f"fingerprint  {self.fingerprint}",
            f"identity     {_IDENTITY[self.identity]}",
            f"recovery     {said[self.recovery]}",
            f"backup       {f'version {self.backup}' if self.backup else 'none'}, "
            f"{self.backed_up:,} of {self.sessions:,} room keys",
        ]
        return "\n".join([*lines, *([f"to do        {self.advice}"] if self.advice else [])])


_IDENTITY: dict[Identity, str] = {
    "none": "none yet",
    "unsigned": "the account's, which did not sign this device",
    "signed": "the account's, which signed this device",
    "held": "the account's, whose private keys are here",
    "changed": "another one than before",
}


async def status(desk: Desk, *, problem: str) -> KeysStatus:
    """How the keys are now; `problem` is what the background ran into."""
    recoverable: bool | None = None
    with anyio.move_on_after(_PATIENCE), suppress(MatrixDataError):
        if not (await desk.read(situation)).settled:
            await own.refresh(desk)
        recoverable = await recovery.is_set_up(desk)

    def work(tx: Transaction) -> KeysStatus:
        now, current = situation(tx), backup.current(tx)
        version = current.version if current is not None and current.trusted else None
        counts = "SELECT count(*), count(*) FILTER (WHERE backed_up = ?) FROM megolm_inbound"
        sessions, backed_up = tx.connection.execute(counts, (version,)).fetchone()
        return KeysStatus(
            tx.me.user_id,
            tx.me.device_id,
            shown(now.fingerprint),
            _identity(now),
            recoverable,
            version,
            sessions,
            backed_up,
            problem or _advice(now, recoverable),
        )

    return await desk.read(work)


def _identity(now: Situation) -> Identity:
    if now.changed:
        return "changed"
    if now.master is None:
        return "none"
    if not now.signed:
        return "unsigned"
    return "held" if now.held >= OF_IDENTITY else "signed"


def _advice(now: Situation, recoverable: bool | None) -> str:
    if now.changed:
        return "if you reset your identity, client.keys.recover(recovery_key) or verify; else somebody stands between"
    if now.master is not None and not now.signed:
        return "client.keys.recover(recovery_key), or client.keys.verify() with a device that is verified"
    if now.held >= OF_IDENTITY and recoverable is False:
        return "client.keys.set_up_recovery(): without it, losing this device loses what is encrypted"
    return ""
