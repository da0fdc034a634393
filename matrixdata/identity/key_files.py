"""Room keys to a file under a passphrase and back, in the format that every Matrix client reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from matrixdata.encryption import inbound, key_file
from matrixdata.encryption.port import Received
from matrixdata.errors import WrongKey

if TYPE_CHECKING:
    from matrixdata.encryption.port import Session
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.identity.desk import Desk
    from matrixdata.model.json import JSONObject

_LARGEST = 500_000_000
"""Bytes of a key file that is read: about a million sessions."""
_BATCH = 200


async def export_file(desk: Desk, path: Path, passphrase: str) -> int:
    """Write every room key to a file, whole or not at all; how many they were."""
    keys = await desk.read(lambda tx: [each.data for each in inbound.exported(tx)])
    await anyio.to_thread.run_sync(_write, path, keys, passphrase)
    return len(keys)


def _write(path: Path, keys: list[JSONObject], passphrase: str) -> None:
    from matrixdata.frames.atomic import written  # noqa: PLC0415  its package loads what frames need

    salt, iv = os.urandom(16), os.urandom(16)
    text = key_file.written(keys, passphrase, salt=salt, iv=iv, rounds=key_file.ROUNDS)
    with written(path) as file:
        file.write(text.encode())


async def import_file(desk: Desk, path: Path, passphrase: str) -> int:
    """Take the room keys of a file; how many are new here, or reach further back.

    Raises:
        WrongKey: it is no key file, is damaged, or the passphrase is another one.
        OSError: it cannot be read.
    """
    keys = await anyio.to_thread.run_sync(_read, path, passphrase)
    taken: set[Session] = set()
    for start in range(0, len(keys), _BATCH):
        page = keys[start : start + _BATCH]
        taken |= await desk.write(lambda tx: _take(tx, page))  # noqa: B023  awaited here
    await desk.keys.tell(Received(sessions=frozenset(taken)))
    return len(taken)


def _read(path: Path, passphrase: str) -> list[JSONObject]:
    size = path.stat().st_size
    if size > _LARGEST:
        raise WrongKey(f"{path} is {size:,} bytes long; a key file of more than {_LARGEST:,} is not read")
    return key_file.read(path.read_text(encoding="utf-8", errors="replace"), passphrase)


def _take(tx: Transaction, page: list[JSONObject]) -> set[Session]:
    sessions = (inbound.imported(tx, each, "file") for each in page)
    return {session for session in sessions if session is not None}
