"""Megolm sessions for the server-side backup (spec "Server-side key backups", m.megolm_backup.v1.curve25519-aes-sha2).

Whoever can write to a backup can put keys of their own there: it authenticates nobody (its MAC covers nothing), so
what comes from it is never more than unauthenticated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from vodozemac import Curve25519PublicKey, Curve25519SecretKey, Message, PkDecryption, PkEncryption

from matrixdata.encryption import cross_signing, stored_secrets
from matrixdata.encryption.objects import read_object
from matrixdata.encryption.signing import is_signed
from matrixdata.encryption.unpadded import decoded, encoded

if TYPE_CHECKING:
    from matrixdata.encryption.port import Session
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON, JSONObject

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
_NOT_IN_PAYLOAD = frozenset({"room_id", "session_id"})


@dataclass(frozen=True, slots=True)
class Backup:
    """The backup in use.

    Attributes:
        version: as the server calls it.
        public_key: what sessions are encrypted for, unpadded base64.
        trusted: its key is ours: we hold its private key, or our master key signed it. Only then is it written to.
    """

    version: str
    public_key: str
    trusted: bool
    has_secret: bool = field(default=False)


def public_key(private: bytes) -> str:
    """The public key of a backup's private key (32 bytes), unpadded base64."""
    return Curve25519SecretKey.from_bytes(private).public_key().to_base64()


def description(tx: Transaction, private: bytes) -> JSONObject:
    """The body of POST /room_keys/version: the public key, signed by our master key.

    Raises:
        KeyMissing: the master key is not here.
    """
    auth_data = cross_signing.sign_with_master(tx, {"public_key": public_key(private)})
    return {"algorithm": ALGORITHM, "auth_data": auth_data}


def adopt(tx: Transaction, content: Mapping[str, JSON], *, master: str | None) -> Backup | None:
    """Take the server's current backup for ours, as far as it can be trusted; None: of a kind that we do not know.

    What is stored of an older version no longer counts as backed up.

    Args:
        tx: the transaction.
        content: the answer of GET /room_keys/version.
        master: our own master key, where this device knows it to be ours; None otherwise.
    """
    version, auth_data = content.get("version"), content.get("auth_data")
    key = auth_data.get("public_key") if isinstance(auth_data, Mapping) else None
    if (
        content.get("algorithm") != ALGORITHM
        or not isinstance(version, str)
        or decoded(key, length=32) is None
    ):
        return None
    assert isinstance(key, str)  # noqa: S101  decoded() said so
    assert isinstance(auth_data, Mapping)  # noqa: S101  or there would be no key
    private = stored_secrets.get(tx, stored_secrets.BACKUP)
    has_secret = private is not None and public_key(private) == encoded(decoded(key, length=32) or b"")
    signed = master is not None and is_signed(auth_data, tx.me.user_id, f"ed25519:{master}", master)
    found = Backup(version, key, trusted=has_secret or signed, has_secret=has_secret)
    tx.connection.execute("REPLACE INTO key_backup VALUES (1, ?, ?, ?)", (version, key, int(found.trusted)))
    return found


def current(tx: Transaction) -> Backup | None:
    """The backup in use, as it was last adopted."""
    row = tx.connection.execute("SELECT version, public_key, trusted FROM key_backup").fetchone()
    if row is None:
        return None
    private = stored_secrets.get(tx, stored_secrets.BACKUP)
    has_secret = private is not None and public_key(private) == row[1].rstrip("=")
    return Backup(row[0], row[1], bool(row[2]), has_secret=has_secret)


def forget(tx: Transaction) -> None:
    """There is no backup (any more)."""
    tx.connection.execute("DELETE FROM key_backup")


def encrypted(public: str, exported: Mapping[str, JSON], *, first_index: int, verified: bool) -> JSONObject:
    """One session as the backup keeps it (KeyBackupData).

    Args:
        public: the backup's public key.
        exported: the session in the format of key exports.
        first_index: the first message it decrypts.
        verified: it came from a verified device of its sender.
    """
    payload = {name: value for name, value in exported.items() if name not in _NOT_IN_PAYLOAD}
    message = PkEncryption.from_key(Curve25519PublicKey.from_base64(public)).encrypt(
        msgspec.json.encode(payload)
    )
    chain = exported.get("forwarding_curve25519_key_chain")
    return {
        "first_message_index": first_index,
        "forwarded_count": len(chain) if isinstance(chain, list) else 0,
        "is_verified": verified,
        # Not to_base64(): vodozemac 0.10 gives these three in another order than it says (measured).
        "session_data": {
            "ciphertext": encoded(message.ciphertext),
            "mac": encoded(message.mac),
            "ephemeral": encoded(message.ephemeral_key),
        },
    }


def decrypted(private: bytes, room_id: str, session_id: str, data: JSON) -> JSONObject | None:
    """A session from the backup, in the format of key exports; None where it cannot be read. Nothing in it raises.

    Args:
        private: the backup's private key, 32 bytes.
        room_id: under which room the server has it.
        session_id: under which session id.
        data: the KeyBackupData.
    """
    sealed = data.get("session_data") if isinstance(data, Mapping) else None
    if not isinstance(sealed, Mapping):
        return None
    parts = [sealed.get(name) for name in ("ciphertext", "mac", "ephemeral")]
    try:
        message = Message.from_base64(*(str(part).rstrip("=") for part in parts))
        clear = PkDecryption.from_key(Curve25519SecretKey.from_bytes(private)).decrypt(message)
    except ValueError:  # every exception of vodozemac is one
        return None
    exported = read_object(clear)
    return None if exported is None else {**exported, "room_id": room_id, "session_id": session_id}


def has_restored(tx: Transaction, version: str, sessions: Iterable[Session]) -> None:
    """These sessions came from the backup of this version. What is better here than there is still to be uploaded."""
    tx.connection.executemany(
        "UPDATE megolm_inbound SET backed_up = ? WHERE room_id = ? AND session_id = ? AND origin = 'backup'",
        ((version, it.room_id, it.session_id) for it in sessions),
    )
