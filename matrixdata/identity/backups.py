"""The server-side key backup: found and judged, made, filled in the background, read back."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from matrixdata.encryption import backup, identities, inbound, stored_secrets
from matrixdata.encryption.port import Received
from matrixdata.encryption.reading import object_at, text_at
from matrixdata.encryption.stored_secrets import BACKUP
from matrixdata.errors import KeyMissing, NotFound, Rejected, Unknown
from matrixdata.model.hidden import HiddenBytes
from matrixdata.protocol import identity_requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.encryption.backup import Backup
    from matrixdata.encryption.port import Session
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.identity.desk import Desk
    from matrixdata.model.json import JSONObject

log = logging.getLogger("matrixdata.identity")

_BATCH = 200
"""Sessions in one request and in one transaction: about 250 kB, and a tenth of a second of computing."""
_ANOTHER_VERSION = {"M_WRONG_ROOM_KEYS_VERSION", "M_NOT_FOUND"}


async def adopt(desk: Desk) -> Backup | None:
    """Ask for the account's current backup, and judge whether its key is ours; None: there is none that we know."""
    answer = await desk.found(identity_requests.backup_version())

    def work(tx: Transaction) -> Backup | None:
        own = identities.identity(tx, tx.me.user_id)
        master = own.master if own is not None and own.verified and not own.changed else None
        found = backup.adopt(tx, answer, master=master) if answer is not None else None
        if found is None:
            backup.forget(tx)
        return found

    return await desk.write(work)


async def ensure(desk: Desk) -> Backup:
    """The account's backup with its private key here; a new one is made where there is none to be had.

    Raises:
        KeyMissing: our master key, which signs it, is not here.
    """
    found = await adopt(desk)
    if found is not None and found.has_secret:
        return found

    def made(tx: Transaction) -> JSONObject:
        private = stored_secrets.get(tx, BACKUP) or HiddenBytes(os.urandom(32))
        body = backup.description(tx, private)
        stored_secrets.put(tx, BACKUP, private)
        return body

    await desk.call(identity_requests.create_backup(await desk.write(made)))
    found = await adopt(desk)
    if found is None or not found.has_secret:
        raise Unknown("the server did not keep the backup that was made; try again")
    return found


async def fill(desk: Desk) -> int:
    """Back up every session that the backup lacks; how many were. Nothing where there is no trusted backup.

    Raises:
        NotSent, Unknown, RateLimited, LoggedOut: it goes on where it was the next time.
    """
    count, anew = 0, False
    while True:
        current = await desk.read(backup.current)
        if current is None or not current.trusted:
            return count
        version, public_key = current.version, current.public_key
        batch = await desk.read(lambda tx: inbound.needs_backup(tx, version, _BATCH))  # noqa: B023  awaited here
        if not batch:
            return count
        try:
            await desk.call(identity_requests.back_up(version, _body(batch, public_key)))
        except Rejected as error:
            # Another device made another one. Twice in a row is the server's own affair.
            if error.errcode not in _ANOTHER_VERSION or anew:
                raise
            anew = True
            await adopt(desk)
            continue
        await desk.write(lambda tx: inbound.backed_up(tx, version, batch))  # noqa: B023  awaited here
        count, anew = count + len(batch), False


def _body(batch: list[inbound.Exported], public_key: str) -> JSONObject:
    rooms: dict[str, JSONObject] = {}
    for each in batch:
        sessions = rooms.setdefault(each.session.room_id, {})
        sessions[each.session.session_id] = backup.encrypted(
            public_key, each.data, first_index=each.first_index, verified=each.origin in {"own", "device"}
        )
    return {"rooms": {room_id: {"sessions": sessions} for room_id, sessions in rooms.items()}}


async def restore(desk: Desk, *, progress: Callable[[int, int], None] | None = None) -> int:
    """Take every session of the backup; how many are new here, or reach further back.

    Args:
        desk: the client's.
        progress: told how many of how many were looked at.

    Raises:
        NotFound: there is no backup.
        KeyMissing: its private key is not here.
    """
    current = await adopt(desk)
    if current is None:
        raise NotFound(f"{desk.user_id} has no key backup")
    if not current.has_secret:
        raise KeyMissing(
            "the key of the backup is not on this device: unlock it with client.keys.recover(recovery_key), or "
            "verify this device from another one"
        )
    version = current.version
    answer = await desk.call(identity_requests.backed_up_keys(version), patience=120)
    every = [
        (room_id, session_id)
        for room_id in object_at(answer, "rooms")
        for session_id in object_at(answer, "rooms", room_id, "sessions")
    ]
    taken: set[Session] = set()
    for start in range(0, len(every), _BATCH):
        page = {
            at: object_at(answer, "rooms", at[0], "sessions", at[1]) for at in every[start : start + _BATCH]
        }
        taken |= await desk.write(lambda tx: _take(tx, version, page))  # noqa: B023  awaited here
        if progress is not None:
            progress(min(start + _BATCH, len(every)), len(every))
    await desk.keys.tell(Received(sessions=frozenset(taken)))
    return len(taken)


def _take(tx: Transaction, version: str, page: dict[tuple[str, str], JSONObject]) -> set[Session]:
    private = stored_secrets.get(tx, BACKUP)
    taken: set[Session] = set()
    for (room_id, session_id), data in page.items():
        exported = backup.decrypted(private, room_id, session_id, data) if private else None
        if exported is None or text_at(exported, "session_key") is None:
            log.info("a session in the key backup cannot be read")
            continue
        session = inbound.imported(tx, exported, "backup", room_id=room_id, session_id=session_id)
        if session is not None:
            taken.add(session)
    backup.has_restored(tx, version, taken)
    return taken
