"""The cross-signing keys of users (spec "Cross-signing"): pinned, verified, changed; and what that makes of a device.

Public keys only.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
from vodozemac import Ed25519PublicKey, KeyException

from matrixdata.encryption.device_keys import identity_keys
from matrixdata.encryption.reading import json_text, object_at, parsed_object, texts_at
from matrixdata.encryption.signing import is_signed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matrixdata.encryption.port import Device, Standing
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON, JSONObject

log = logging.getLogger("matrixdata.encryption")

_SELECT = "SELECT user_id, master, self_signing, user_signing, pinned, verified, keys FROM identity"
_Row = tuple[str, str, str | None, str | None, str, int, bytes]


class Identity(msgspec.Struct, frozen=True):
    """The cross-signing identity of a user, as their server gives it now.

    Attributes:
        master: Ed25519 public keys, unpadded base64.
        self_signing: the key that signs the user's devices, itself signed by `master`; None: not given, or not signed.
        user_signing: the same for the key that signs other users; only our own is ever given.
        pinned: the master key that was seen first, or acknowledged since.
        verified: we verified the pinned key, on this device or, by our own verified identity, on another.
        keys: the signed objects, by usage.
    """

    user_id: str
    master: str
    self_signing: str | None
    user_signing: str | None
    pinned: str
    verified: bool
    keys: Mapping[str, JSON]

    @property
    def changed(self) -> bool:
        """Somebody must look at it: this is not the identity that was pinned."""
        return self.master != self.pinned


def identity(tx: Transaction, user_id: str) -> Identity | None:
    """What is known of the user's identity; None: none was ever given."""
    row = tx.connection.execute(f"{_SELECT} WHERE user_id = ?", (user_id,)).fetchone()
    return _identity(row) if row else None


def changed_among(tx: Transaction, users: list[str]) -> list[Identity]:
    """Those of the users whose identity is not the pinned one."""
    found = (identity(tx, user) for user in users)
    return [it for it in found if it is not None and it.changed]


def standing(tx: Transaction, device: Device) -> Standing:
    """What is known of a device of ours or of others.

    The signatures of an identity that changed count for nothing until that is acknowledged: a server that puts
    another in its place gains neither keys nor belief.
    """
    if device.user_id == tx.me.user_id and device.ed25519 == identity_keys(tx)[1]:
        return "verified"
    owner = identity(tx, device.user_id)
    if owner is not None and not owner.changed and is_signed_by_owner(owner, device):
        return "verified" if owner.verified else "cross-signed"
    return "unknown" if device.deleted else "unsigned"


def is_signed_by_owner(owner: Identity, device: Device) -> bool:
    """Whether the owner's self-signing key signed the device. Whose identity it is, is another question."""
    key = owner.self_signing
    return key is not None and is_signed(device.keys, owner.user_id, f"ed25519:{key}", key)


def acknowledge(tx: Transaction, user_id: str) -> None:
    """A human accepted that this user has another identity now. It is not verified by that."""
    tx.connection.execute(
        "UPDATE identity SET pinned = master, verified = 0 WHERE user_id = ? AND pinned != master", (user_id,)
    )


def set_verified(tx: Transaction, user_id: str, master_key: str) -> None:
    """This master key was compared with the user, or is our own by its private key.

    If the server gives another by now, that shows as a change: the one that was compared is pinned.
    """
    tx.connection.execute(
        "UPDATE identity SET pinned = ?, verified = 1 WHERE user_id = ?", (master_key, user_id)
    )
    if user_id == tx.me.user_id:
        _take_verifications(tx)


def learn(
    tx: Transaction,
    user_id: str,
    *,
    master: Mapping[str, JSON],
    self_signing: Mapping[str, JSON],
    user_signing: Mapping[str, JSON],
) -> bool:
    """Take what a server says a user's identity is, as far as its signatures hold.

    Args:
        tx: the transaction.
        user_id: whose.
        master: the signed object of each key; empty where the server gave none.
        self_signing: the same.
        user_signing: the same; of others than ourselves it is not looked at.

    Returns:
        Whether anything changed.
    """
    master_key = cross_signing_key(user_id, "master", master)
    if master_key is None:
        return False
    kept: JSONObject = {"master": dict(master)}
    keys: dict[str, str | None] = {"self_signing": None, "user_signing": None}
    for usage, given in (("self_signing", self_signing), ("user_signing", user_signing)):
        key = cross_signing_key(user_id, usage, given)
        if key is None or (usage == "user_signing" and user_id != tx.me.user_id):
            continue
        if is_signed(given, user_id, f"ed25519:{master_key}", master_key):
            keys[usage], kept[usage] = key, dict(given)
        else:
            log.warning("ignored the %s key of %s: their master key did not sign it", usage, user_id)
    before = identity(tx, user_id)
    if before is not None and before.keys == kept:  # which all the rest follows from
        return False
    tx.connection.execute(
        "INSERT INTO identity (user_id, master, self_signing, user_signing, keys, pinned) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (user_id) DO UPDATE SET master = excluded.master, self_signing = excluded.self_signing, "
        "user_signing = excluded.user_signing, keys = excluded.keys",
        (user_id, master_key, keys["self_signing"], keys["user_signing"], json_text(kept), master_key),
    )
    _take_verifications(tx, None if user_id == tx.me.user_id else user_id)
    after = identity(tx, user_id)
    if after is not None and after.changed and not (before and before.changed):
        log.warning("%s has another identity than before; it is to be acknowledged or verified", user_id)
    return before != after


def cross_signing_key(user_id: str, usage: str, given: Mapping[str, JSON]) -> str | None:
    """The public key in a cross-signing key object, where the object is well-formed."""
    keys = object_at(given, "keys")
    if given.get("user_id") != user_id or usage not in texts_at(given, "usage") or len(keys) != 1:
        return None
    (key_id, key), *_ = keys.items()
    if not isinstance(key, str) or key_id != f"ed25519:{key}":
        return None
    try:
        return key if Ed25519PublicKey.from_base64(key).to_base64() == key else None
    except KeyException:
        return None


def _take_verifications(tx: Transaction, user_id: str | None = None) -> None:
    """Users (None: all) whose master key our own identity signed are verified, if that identity is itself."""
    own = identity(tx, tx.me.user_id)
    if own is None or not own.verified or own.changed or own.user_signing is None:
        return
    key = own.user_signing
    for row in tx.connection.execute(
        _SELECT + " WHERE user_id = coalesce(?, user_id)", (user_id,)
    ).fetchall():
        it = _identity(row)
        if it.user_id == own.user_id or (it.verified and not it.changed):
            continue
        if is_signed(object_at(it.keys, "master"), own.user_id, f"ed25519:{key}", key):
            tx.connection.execute(
                "UPDATE identity SET pinned = master, verified = 1 WHERE user_id = ?", (it.user_id,)
            )


def _identity(row: _Row) -> Identity:
    user_id, master, self_signing, user_signing, pinned, verified, keys = row
    known = parsed_object(keys) or {}
    return Identity(user_id, master, self_signing, user_signing, pinned, bool(verified), known)
