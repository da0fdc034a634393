"""Recovery: the account's private keys on the server, sealed with a key that its owner keeps, and back from there."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from matrixdata.encryption import cross_signing, identities, recovery_key, secret_storage, stored_secrets
from matrixdata.encryption.reading import text_at
from matrixdata.encryption.stored_secrets import BACKUP, MASTER, NAMES, SELF_SIGNING
from matrixdata.encryption.unpadded import decoded, encoded
from matrixdata.errors import Conflict, KeyMissing, NotFound, Tampered
from matrixdata.identity import backups, own
from matrixdata.identity.situation import OF_IDENTITY, public_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matrixdata.encryption.secret_storage import StorageKey
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.identity.desk import Desk
    from matrixdata.model.hidden import HiddenBytes, HiddenText

log = logging.getLogger("matrixdata.identity")


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery brought.

    Attributes:
        signed: this device is signed now, so that others see it as yours.
        restored: room keys that are new here, from the backup; None: there is no backup, or its key was not stored.
    """

    signed: bool
    restored: int | None


async def is_set_up(desk: Desk) -> bool:
    """Whether the account has a recovery key already."""
    return text_at(await desk.account_data(secret_storage.DEFAULT_KEY) or {}, "key") is not None


async def set_up(desk: Desk, *, key: HiddenBytes | None = None, replace: bool = False) -> str:
    """Store the account's private keys on the server under a new recovery key.

    Args:
        desk: the client's.
        key: the key to use, 32 random bytes; None: a new one.
        replace: also where there is one already, which then opens nothing any more.

    Returns:
        The recovery key, as people keep it.

    Raises:
        Conflict: there is one already.
        KeyMissing: the private keys are not on this device.
    """
    if not replace and await is_set_up(desk):
        raise Conflict(
            f"{desk.user_id} has a recovery key already. If it is lost, replace=True makes another one, and the "
            "first opens nothing any more"
        )
    now = await own.ensure(desk)
    if not now.held >= OF_IDENTITY:
        raise KeyMissing(
            "the account's private keys are not on this device: recover or verify it first, or do this on the device "
            "that has them"
        )
    await backups.ensure(desk)
    storage = secret_storage.StorageKey(desk.new_id(), key or os.urandom(32))
    secrets = await desk.read(lambda tx: {name: stored_secrets.get(tx, name) for name in NAMES})
    await desk.set_account_data(
        storage.event_type, secret_storage.description(storage.key, iv=os.urandom(16))
    )
    for name, secret in secrets.items():
        if secret is not None:
            sealed = secret_storage.sealed_secret(storage, name, encoded(secret), iv=os.urandom(16))
            await desk.set_account_data(name, sealed)
    # Last: until it is there, what was there before counts.
    await desk.set_account_data(secret_storage.DEFAULT_KEY, {"key": storage.key_id})
    return recovery_key.shown(storage.key)


async def recover(
    desk: Desk, text: HiddenText, *, progress: Callable[[int, int], None] | None = None
) -> Recovered:
    """Unlock the account's private keys, sign this device with them, and restore the key backup.

    Args:
        desk: the client's.
        text: the recovery key, or the passphrase that it was made from.
        progress: told how many room keys of how many were looked at.

    Raises:
        WrongKey: it is not the one of this account; nothing was changed.
        NotFound: the account has no recovery set up.
        Tampered: what the server lists as this account's identity is not the one that the stored keys belong to.
    """
    storage = await _opened(desk, text)
    await own.refresh(desk)
    secrets = {}
    for name in NAMES:
        secret = secret_storage.secret(storage, name, await desk.account_data(name) or {})
        if secret is not None:
            secrets[name] = secret
    await desk.write(lambda tx: _take(tx, secrets))
    now = await own.sign_this_device(desk) if SELF_SIGNING in secrets else await own.ensure(desk)
    restored = None
    if BACKUP in secrets:
        found = await backups.adopt(desk)
        if found is not None and found.has_secret:
            restored = await backups.restore(desk, progress=progress)
    return Recovered(now.signed, restored)


async def _opened(desk: Desk, text: HiddenText) -> StorageKey:
    key_id = text_at(await desk.account_data(secret_storage.DEFAULT_KEY) or {}, "key")
    described = await desk.account_data(secret_storage.description_type(key_id)) if key_id else None
    if key_id is None or described is None:
        raise NotFound(
            f"{desk.user_id} has no recovery key: client.keys.set_up_recovery() makes one, on a device that is verified"
        )
    # A passphrase takes a second or so.
    return await anyio.to_thread.run_sync(secret_storage.opened, text, key_id, described)


def _take(tx: Transaction, secrets: Mapping[str, str]) -> None:
    identity = identities.identity(tx, tx.me.user_id)
    public = public_keys(identity) if identity is not None else {}
    for name in OF_IDENTITY & secrets.keys():
        if not cross_signing.take(tx, name, secrets[name], public.get(name)):
            raise Tampered(
                f"the server lists another {cross_signing.USAGE[name].replace('_', '-')} key of {tx.me.user_id} than "
                "the one in secret storage: the identity was reset since, or somebody stands in between"
            )
    if identity is not None and MASTER in secrets:
        identities.set_verified(tx, tx.me.user_id, identity.master)
    private = decoded(secrets.get(BACKUP), length=32)
    if private is not None:
        stored_secrets.put(tx, BACKUP, private)
