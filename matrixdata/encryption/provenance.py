"""Whose a Megolm session is: which user's, which device's, and what is known of that device. Decrypts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from matrixdata.encryption import device_lists, identities, inbound

if TYPE_CHECKING:
    from matrixdata.encryption.inbound import Stored
    from matrixdata.encryption.port import Device, Standing
    from matrixdata.encryption.transaction import Transaction

_RANK: dict[Standing, int] = {"unknown": 0, "unsigned": 1, "cross-signed": 2, "verified": 3}


class Provenance(msgspec.Struct, frozen=True):
    """Where a session comes from, as far as can be said.

    Attributes:
        owner: the user who made it; None: not known, as for a key from a file whose device nobody lists.
        device_id: of the device that made it, None when that is not known.
        fault: why it cannot be what it says, "" when it can.
    """

    owner: str | None
    device_id: str | None
    standing: Standing
    fault: str = ""


def provenance(tx: Transaction, session: Stored) -> Provenance:
    """Where the session comes from. What improves is noted with it, and stays when the device is removed."""
    if session.origin == "own":
        return Provenance(tx.me.user_id, _own_device_id(tx, session), "verified")
    device = device_lists.by_key(tx, session.sender_key)
    if session.origin != "device":
        # Who can write to a backup, or hand us a file, can put any name into it (threat A13).
        owner = device.user_id if device else session.owner
        return Provenance(owner, device.device_id if device else None, "unauthenticated")
    if device is None:
        return Provenance(session.owner, None, session.standing)
    if device.user_id != session.owner or device.ed25519 != session.ed25519:
        return Provenance(
            session.owner, None, "unknown", "the device that made its session is somebody else's"
        )
    return Provenance(device.user_id, device.device_id, _best(tx, session, device))


def _best(tx: Transaction, session: Stored, device: Device) -> Standing:
    now: Standing = "unsigned" if device.blocked else identities.standing(tx, device)
    if _RANK[now] <= _RANK[session.standing]:
        return session.standing
    inbound.note_standing(tx, session, now)
    return now


def _own_device_id(tx: Transaction, session: Stored) -> str | None:
    device = device_lists.by_key(tx, session.sender_key)
    return device.device_id if device else None
