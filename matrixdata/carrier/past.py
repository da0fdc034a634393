"""Keys of a room's past: offered to whom we invite, taken from who invited us (spec "Sharing keys between users").

They travel as an encrypted file through the media repository. It is a kindness: no invite waits for it or fails by it.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

import anyio
import msgspec

from matrixdata.encryption import attachments, history
from matrixdata.encryption.port import Received
from matrixdata.errors import LoggedOut, MatrixDataError, Rejected, Tampered, Unknown
from matrixdata.protocol import media
from matrixdata.protocol.sync import decode
from matrixdata.transport.caller import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.carrier.courier import Courier
    from matrixdata.carrier.keys import Keys
    from matrixdata.model.json import JSON, JSONObject
    from matrixdata.transport.caller import Caller

log = logging.getLogger("matrixdata.carrier")

_ROUNDS = 10
_LARGEST = 20 * 1024 * 1024
"""Bytes of a bundle: about forty thousand sessions."""
# Seconds between two looks when nobody wakes it.
_REST = 3600.0
# Seconds that an invite waits for it.
_PATIENCE = 15.0


class Past:
    """Of one client."""

    def __init__(self, keys: Keys, courier: Courier, caller: Caller, *, chance: Callable[[], float]) -> None:
        self._keys = keys
        self._courier = courier
        self._caller = caller
        self._chance = chance
        self._wake = anyio.Event()
        keys.on_received.append(self.received)
        caller.on_recovery.append(self._wake_up)

    # -- giving -----------------------------------------------------------------------------------------
    async def offer(self, room_id: str, user_id: str) -> None:
        """Offer the keys of the room's past to somebody who is about to be invited. What fails is logged."""
        try:
            with anyio.move_on_after(_PATIENCE) as scope:
                await self._offer(room_id, user_id)
            if scope.cancelled_caught:
                log.warning("the keys of what came before were not offered to %s in time", user_id)
        except LoggedOut:
            raise
        except (MatrixDataError, OSError) as error:
            log.warning("the keys of what came before could not be offered to %s: %s", user_id, error)

    async def _offer(self, room_id: str, user_id: str) -> None:

        for _ in range(_ROUNDS):
            if not await self._keys.transact(lambda tx: history.unready(tx, user_id)):
                break
            await self._courier.deliver()
        bundle = await self._keys.look(
            lambda tx: history.bundle(tx, room_id) if history.has_receivers(tx, user_id) else None
        )
        if bundle is None:
            return
        data = msgspec.json.encode(bundle)
        ciphertext, info = attachments.encrypted(
            data, key=secrets.token_bytes(32), nonce=secrets.token_bytes(8)
        )
        answer = decode(await self._caller.call(media.upload(ciphertext), patience=_PATIENCE))
        uri = answer.get("content_uri") if isinstance(answer, dict) else None
        if not isinstance(uri, str):
            raise Unknown("the server does not say where the file is")
        file: JSONObject = {**info, "url": uri}
        await self._keys.transact(lambda tx: history.offer(tx, room_id, user_id, file))
        await self._courier.deliver()

    # -- taking -----------------------------------------------------------------------------------------
    async def accept(self, room_id: str, inviter: str) -> None:
        """We are about to join by that user's invite: what they offered is taken in the background."""
        await self._keys.transact(lambda tx: history.accept(tx, room_id, inviter))
        self._courier.wake()
        self._wake_up()

    async def received(self, received: Received) -> None:
        """The engine learnt something."""
        if received.waiting or received.users:
            self._wake_up()

    async def run(self) -> None:
        """Take what is offered, and again when woken, for as long as it is not cancelled."""
        backoff, failures = Backoff(), 0
        while True:
            self._wake = anyio.Event()
            pause = _REST
            try:
                await self.attend()
                failures = 0
            except LoggedOut:
                failures = 0
            except (MatrixDataError, OSError) as error:
                failures += 1
                pause = backoff.delay(failures, self._chance)
                log.info("keys of a room's past are fetched later: %s", error)
            with anyio.move_on_after(pause):
                await self._wake.wait()

    async def attend(self) -> None:
        """Fetch and take each bundle that is due.

        Raises:
            NotSent, Unknown, RateLimited, LoggedOut: it is fetched by the next call.
        """
        for offer in await self._keys.look(history.due):
            await self._take(*offer)

    async def _take(self, room_id: str, inviter: str) -> None:

        file = await self._keys.look(lambda tx: history.offered(tx, room_id, inviter))
        bundle = await self._fetched(file or {}, inviter)
        sessions = await self._keys.transact(lambda tx: history.take(tx, room_id, inviter, bundle))
        log.info("%s gave us %d keys of the past of %s", inviter, len(sessions), room_id)
        await self._keys.tell(Received(sessions=sessions))

    async def _fetched(self, file: JSONObject, inviter: str) -> dict[str, JSON]:
        """What a bundle's file holds; nothing where it is gone, damaged or none."""
        uri = file.get("url")
        request = media.download(uri) if isinstance(uri, str) else None
        if request is None:
            return {}
        try:
            data = attachments.decrypted(await self._caller.call(request), file)
        except LoggedOut:
            raise
        except (Rejected, Tampered) as error:
            log.warning("the keys that %s offered cannot be had: %s", inviter, error)
            return {}
        return _object(data) if len(data) <= _LARGEST else {}

    def _wake_up(self) -> None:
        self._wake.set()


def _object(data: bytes) -> dict[str, JSON]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
