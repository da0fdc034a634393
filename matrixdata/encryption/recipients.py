"""Whom a room's owner here trusts: whose devices get our keys, and whose records are taken (MSC4153).

The policy is our user's own and never comes from the room. It sends nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from matrixdata.encryption import device_keys, device_lists, identities
from matrixdata.errors import DeviceUntrusted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matrixdata.encryption.port import Device, Policy, Standing
    from matrixdata.encryption.transaction import Transaction

_GIVEN: dict[Policy, frozenset[Standing]] = {
    "all": frozenset({"verified", "cross-signed", "unsigned"}),
    "cross-signed": frozenset({"verified", "cross-signed"}),
    "verified": frozenset({"verified"}),
}
_TAKEN: dict[Policy, frozenset[Standing]] = {
    "all": frozenset({"verified", "cross-signed", "unsigned", "unknown", "unauthenticated"}),
    "cross-signed": frozenset({"verified", "cross-signed", "unauthenticated"}),
    "verified": frozenset({"verified"}),
}

_WHY: dict[Standing, str] = {
    "cross-signed": "its owner is not verified",
    "unsigned": "not signed by its owner",
    "unknown": "no longer among its owner's devices, or never was",
    "unauthenticated": "its key came from a backup, a file or another person, which do not prove whose it is",
}


class RoomPolicy(msgspec.Struct, frozen=True):
    """Whom we trust in one room.

    Attributes:
        policy: which devices.
        members: user ids of those who get keys and are read, beside ourselves; None: every member.
    """

    policy: Policy
    members: frozenset[str] | None = None

    def allows(self, user_id: str, own: str) -> bool:
        """Whether this user gets keys and is read."""
        return self.members is None or user_id in self.members or user_id == own


class LeftOut(msgspec.Struct, frozen=True):
    """A device that gets no key: `code` as in m.room_key.withheld, `why` for people."""

    device: Device
    code: str
    why: str


class Chosen(msgspec.Struct, frozen=True):
    """Who gets the key of a session, and who not. Our own device is in neither: it has the key."""

    devices: tuple[Device, ...]
    left_out: tuple[LeftOut, ...]


def set_policy(tx: Transaction, room_id: str, policy: Policy, members: Iterable[str] | None) -> None:
    """Trust these in the room from now on; `members` None: everybody who is a member of it."""
    stored = None if members is None else msgspec.json.encode(sorted(set(members)))
    tx.connection.execute("REPLACE INTO room_policy VALUES (?, ?, ?)", (room_id, policy, stored))


def policy(tx: Transaction, room_id: str) -> RoomPolicy:
    """Whom we trust in the room; devices that their owners signed where nothing was said."""
    row = tx.connection.execute(
        "SELECT policy, members FROM room_policy WHERE room_id = ?", (room_id,)
    ).fetchone()
    if row is None:
        return RoomPolicy("cross-signed")
    return RoomPolicy(row[0], None if row[1] is None else msgspec.json.decode(row[1], type=frozenset[str]))


def refusal(rule: RoomPolicy, standing: Standing) -> str:
    """Why records from a device of that standing are not taken; "" when they are."""
    return "" if standing in _TAKEN[rule.policy] else _WHY.get(standing, standing)


def choose(tx: Transaction, rule: RoomPolicy, members: Iterable[str]) -> Chosen:
    """Who among the listed devices of the room's members gets the key of a session.

    Raises:
        DeviceUntrusted: the identity of a member whom the policy trusts changed, and nobody acknowledged that. Under
            "all" only for members whom we had verified.
    """
    users = sorted(set(members) | {tx.me.user_id})
    allowed = [user for user in users if rule.allows(user, tx.me.user_id)]
    _refuse_changed(tx, rule, allowed)
    own_key = device_keys.identity_keys(tx)[0]
    given, left_out = [], []
    for device in device_lists.devices_of(tx, users):
        if device.curve25519 == own_key:
            continue
        refused = _refusal(tx, rule, device)
        if refused is None:
            given.append(device)
        else:
            left_out.append(LeftOut(device, *refused))
    return Chosen(tuple(given), tuple(left_out))


def _refusal(tx: Transaction, rule: RoomPolicy, device: Device) -> tuple[str, str] | None:
    if not rule.allows(device.user_id, tx.me.user_id):
        return "m.unauthorised", "its owner is not among the members who are to read here"
    if device.blocked:
        return "m.blacklisted", "blocked here"
    standing = identities.standing(tx, device)
    return None if standing in _GIVEN[rule.policy] else ("m.unverified", _WHY.get(standing, standing))


def _refuse_changed(tx: Transaction, rule: RoomPolicy, users: list[str]) -> None:
    changed = [it for it in identities.changed_among(tx, users) if rule.policy != "all" or it.verified]
    if changed:
        raise DeviceUntrusted([it.user_id for it in changed])
