"""Our own identity: the three cross-signing keys (spec "Cross-signing"), and what we sign with them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from matrixdata.encryption import stored_secrets
from matrixdata.encryption.signing import signed
from matrixdata.encryption.stored_secrets import MASTER, SELF_SIGNING, USER_SIGNING
from matrixdata.encryption.unpadded import decoded, encoded
from matrixdata.errors import KeyMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON, JSONObject

USAGE = {MASTER: "master", SELF_SIGNING: "self_signing", USER_SIGNING: "user_signing"}
"""The name of each key in secret storage, and its usage in the signed object."""


def public_key(seed: bytes) -> str:
    """The Ed25519 public key of a private one.

    Args:
        seed: 32 bytes.

    Returns:
        Unpadded base64.
    """
    return encoded(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())


def create(tx: Transaction) -> None:
    """Make the three keys and keep them. Whoever had others must have asked before; they are replaced."""
    for name in USAGE:
        stored_secrets.put(tx, name, os.urandom(32))


def upload(tx: Transaction) -> JSONObject:
    """The body of POST /keys/device_signing/upload: the same keys, whenever it is asked for.

    Raises:
        KeyMissing: one of the private keys is not here.
    """
    return {f"{usage}_key": _key_object(tx, name) for name, usage in USAGE.items()}


def take(tx: Transaction, name: str, secret: str, public: str | None) -> bool:
    """Keep a private key that came from secret storage or another device, if it is that of the public key.

    Args:
        tx: the transaction.
        name: such as m.cross_signing.master.
        secret: 32 bytes in base64.
        public: the key that our identity lists; None: it lists none, so nothing fits.
    """
    seed = decoded(secret, length=32)
    if seed is None or public_key(seed) != public:
        return False
    stored_secrets.put(tx, name, seed)
    return True


def is_ours(tx: Transaction, name: str, public: str | None) -> bool:
    """Whether we hold the private half of that public key."""
    seed = stored_secrets.get(tx, name)
    return seed is not None and public_key(seed) == public


def sign_device(tx: Transaction, keys: Mapping[str, JSON]) -> JSONObject:
    """The body of POST /keys/signatures/upload that says: this device is ours. Check that it is before.

    Args:
        tx: the transaction.
        keys: the device's signed keys, as listed.

    Raises:
        KeyMissing: the self-signing key is not here.
    """
    bare = {name: value for name, value in keys.items() if name not in {"signatures", "unsigned"}}
    return {tx.me.user_id: {str(keys["device_id"]): _signed(tx, SELF_SIGNING, bare)}}


def sign_user(tx: Transaction, user_id: str, master: Mapping[str, JSON]) -> JSONObject:
    """The body of POST /keys/signatures/upload that says: we verified this user's master key.

    Args:
        tx: the transaction.
        user_id: whose it is.
        master: the signed object of their master key, as listed.

    Raises:
        KeyMissing: the user-signing key is not here.
    """
    bare = {name: value for name, value in master.items() if name not in {"signatures", "unsigned"}}
    keys = master.get("keys")
    public = next(iter(keys.values())) if isinstance(keys, dict) and keys else ""
    return {user_id: {str(public): _signed(tx, USER_SIGNING, bare)}}


def sign_with_master(tx: Transaction, value: Mapping[str, JSON]) -> JSONObject:
    """The object with our master key's signature, such as the description of a backup.

    Raises:
        KeyMissing: the master key is not here.
    """
    return _signed(tx, MASTER, value)


def _signed(tx: Transaction, name: str, value: Mapping[str, JSON]) -> JSONObject:
    seed = _seed(tx, name)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return signed(
        value, tx.me.user_id, f"ed25519:{public_key(seed)}", lambda message: encoded(key.sign(message))
    )


def _key_object(tx: Transaction, name: str) -> JSONObject:
    public = public_key(_seed(tx, name))
    bare: JSONObject = {
        "user_id": tx.me.user_id,
        "usage": [USAGE[name]],
        "keys": {f"ed25519:{public}": public},
    }
    return bare if name == MASTER else _signed(tx, MASTER, bare)


def _seed(tx: Transaction, name: str) -> bytes:
    seed = stored_secrets.get(tx, name)
    if seed is None:
        raise KeyMissing(
            f"the private {USAGE[name].replace('_', '-')} key is not on this device: unlock it with "
            "client.keys.recover(recovery_key), or verify this device from another one"
        )
    return seed
