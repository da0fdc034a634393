"""The verbs of the engine: each a function over one transaction of account.db, which its caller commits.

Thin: what a verb does stands in the module that it names.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from matrixdata.encryption import (
    decryption,
    device_answers,
    device_keys,
    device_lists,
    key_requests,
    olm,
    outbound,
    outgoing,
    recipients,
    sharing,
    to_device,
)
from matrixdata.encryption.port import Received
from matrixdata.encryption.transaction import Transaction

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

    from matrixdata.encryption.port import (
        Clear,
        Encrypted,
        Outgoing,
        Policy,
        Prepared,
        Session,
        SyncChanges,
        Undecryptable,
    )
    from matrixdata.encryption.recipients import RoomPolicy
    from matrixdata.encryption.transaction import Me
    from matrixdata.model.json import JSON
    from matrixdata.protocol.events import Event

log = logging.getLogger("matrixdata.encryption")


class Engine:
    """End-to-end encryption for one device. Keeps nothing in memory that a crash could lose or another process doubles.

    Every verb takes the connection of an open transaction first. Whoever opened it commits before anything that the
    verb returned leaves this machine. Answers are parsed JSON; a request that is not stored (any more) is no mistake,
    as another process may have had its answer first.
    """

    def __init__(self, me: Me) -> None:
        self.me = me

    # -- coming and going -------------------------------------------------------------------------------
    def open(self, c: sqlite3.Connection) -> None:
        """Be ready: make this device's keys if there are none. To be called once before the other verbs."""
        tx = self.transaction(c)
        device_keys.open_account(tx)
        device_lists.track(tx, [self.me.user_id])

    def token(self, c: sqlite3.Connection) -> str | None:
        """Where the to-device stream goes on."""
        return to_device.token(self.transaction(c))

    def receive(self, c: sqlite3.Connection, changes: SyncChanges) -> Received:
        """Take what a sync response says."""
        return to_device.receive(self.transaction(c), changes)

    def outgoing(self, c: sqlite3.Connection) -> tuple[Outgoing, ...]:
        """All that is to be sent now, in order: what waits for its answer, and what has become due."""
        tx = self.transaction(c)
        device_keys.upload(tx)
        device_lists.ask(tx)
        olm.unwedge(tx)
        return outgoing.pending(tx)

    def answered(self, c: sqlite3.Connection, request_id: str, response: Mapping[str, JSON]) -> Received:
        """The server answered a request with 200 and this."""
        tx = self.transaction(c)
        request = outgoing.stored(tx, request_id)
        if request is None:
            return Received()
        outgoing.done(tx, request_id)
        match request.request.kind:
            case "upload":
                return device_keys.uploaded(tx, request, response)
            case "query":
                result = device_answers.answered(tx, request, response)
                key_requests.answer(tx)
                return result
            case "claim":
                olm.claimed(tx, request, response)
                key_requests.answer(tx)
            case "signatures":
                device_lists.mark_stale(tx, [self.me.user_id])
            case "to_device":
                pass
        return Received()

    def refused(self, c: sqlite3.Connection, request_id: str, reason: str) -> Received:
        """The server will not take a request, however often it is sent (4xx; not 401, 429 and their like).

        Args:
            c: the connection of an open transaction.
            request_id: of the request.
            reason: the server's errcode and words; for the log.
        """
        tx = self.transaction(c)
        request = outgoing.stored(tx, request_id)
        if request is None:
            return Received()
        outgoing.done(tx, request_id)
        log.warning("the server refused a request of kind %s: %.200s", request.request.kind, reason)
        match request.request.kind:
            case "upload":
                return device_keys.refused(tx, request, reason)
            case "query":
                device_answers.refused(tx, request)
            case "claim":
                olm.refused(tx, request)
            case "to_device" | "signatures":
                pass
        return Received()

    # -- who is there -----------------------------------------------------------------------------------
    def track(self, c: sqlite3.Connection, users: Iterable[str]) -> None:
        """Keep the devices of these users up to date."""
        device_lists.track(self.transaction(c), users)

    def mark_stale(self, c: sqlite3.Connection, users: Iterable[str] | None = None) -> None:
        """The devices of these users (None: of everybody) may have changed unseen, as while nobody synced."""
        device_lists.mark_stale(self.transaction(c), users)

    # -- rooms ------------------------------------------------------------------------------------------
    def note_room(self, c: sqlite3.Connection, room_id: str, content: bytes) -> None:
        """The room's m.room.encryption was seen; the room is encrypted from now on. See `outbound.note_room`."""
        outbound.note_room(self.transaction(c), room_id, content)

    def is_encrypted(self, c: sqlite3.Connection, room_id: str) -> bool:
        """Whether the room was ever seen to be encrypted."""
        return outbound.is_encrypted(self.transaction(c), room_id)

    def set_policy(
        self, c: sqlite3.Connection, room_id: str, policy: Policy, members: Iterable[str] | None = None
    ) -> None:
        """Whom to trust in the room: which devices, and of which members (None: of all)."""
        recipients.set_policy(self.transaction(c), room_id, policy, members)

    def policy(self, c: sqlite3.Connection, room_id: str) -> RoomPolicy:
        """Whom we trust in the room."""
        return recipients.policy(self.transaction(c), room_id)

    def rotate(self, c: sqlite3.Connection, room_id: str) -> None:
        """Somebody was seen to leave the room: what is written from now on has another key."""
        outbound.rotate(self.transaction(c), room_id)

    def prepare(
        self,
        c: sqlite3.Connection,
        room_id: str,
        members: Iterable[str],
        *,
        history_visibility: str = "shared",
    ) -> Prepared:
        """What is to be sent before something can be encrypted for the room. See `sharing.prepare`.

        Raises:
            DeviceUntrusted: the identity of a member changed, which somebody has to acknowledge.
        """
        return sharing.prepare(self.transaction(c), room_id, members, history_visibility=history_visibility)

    def encrypt(self, c: sqlite3.Connection, room_id: str, event_type: str, content: bytes) -> Encrypted:
        """Encrypt an event, in the transaction in which `prepare` left nothing to send. See `outbound.encrypt`.

        Raises:
            KeyMissing: the room was not prepared, or its session is used up.
        """
        return outbound.encrypt(self.transaction(c), room_id, event_type, content)

    def decrypt(
        self, c: sqlite3.Connection, room_id: str, events: Sequence[Event]
    ) -> list[Clear | Undecryptable]:
        """What m.room.encrypted events of one room hold, in the same order, or why that cannot be known."""
        return decryption.decrypt(self.transaction(c), room_id, events)

    def ask_for_keys(self, c: sqlite3.Connection, sessions: Iterable[Session]) -> int:
        """Ask our other verified devices for these sessions; for how many somebody was asked now."""
        return key_requests.ask(self.transaction(c), sessions)

    def transaction(self, c: sqlite3.Connection) -> Transaction:
        """This device's, on a connection that is in one."""
        return Transaction(c, self.me)
