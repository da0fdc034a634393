"""What the outbox holds, and what removes it from there."""

from __future__ import annotations

import msgspec


class OutboxItem(msgspec.Struct, frozen=True):
    """One accepted write. Its fields are the columns of its row.

    Attributes:
        id: its place in the order of acceptance; 0 before it is stored.
        content: the exact bytes of the event's content, the same on every attempt.
        value: the record as JSON text; empty for a batch.
        time: the record's time, microseconds since 1970 UTC.
        accepted_at: when publish accepted it, microseconds since 1970 UTC.
        state: "queued", "sent" (acknowledged, not yet seen in the replica) or "stuck"; listeners also meet
            "synced", when the replica holds the event and the item leaves the outbox, and "cancelled".
        reason: why it is not sent: the server's errcode, or one of `model.delivery`.
        attempts: how many attempts may have reached the server, the one under way among them; 0 means that it
            is surely not there.
        first_attempt, last_attempt, next_attempt: microseconds since 1970 UTC by the local clock, for people:
            nothing is decided by them.
        after_event: our newest event in the room when it was first attempted, None if there was none.
        records: how many it holds.
        made: it is a batch made of records that are items themselves, and of which others may hold receipts.
        batch: the id of the batch in which this record travels; None: it travels by itself.
        alone: it is to be an event of its own, as was asked for.
        turn: of a made batch the place in the order of sending; None: its own id.
    """

    room_id: str
    uid: str
    txn_id: str
    type: str
    content: bytes
    value: bytes
    time: int
    accepted_at: int
    id: int = 0
    state: str = "queued"
    event_id: str | None = None
    reason: str | None = None
    attempts: int = 0
    first_attempt: int | None = None
    last_attempt: int | None = None
    next_attempt: int | None = None
    after_event: str | None = None
    records: int = 1
    made: bool = False
    batch: int | None = None
    turn: int | None = None
    alone: bool = False

    @property
    def size(self) -> int:
        """Bytes of what is sent."""
        return len(self.content)

    @property
    def place(self) -> int:
        """Its place in the order of sending."""
        return self.id if self.turn is None else self.turn


class Echo(msgspec.Struct, frozen=True):
    """An event of ours seen in the replica, sent from here or from another device.

    Attributes:
        value: the record as JSON text; None where there is none.
    """

    event_id: str
    room_id: str
    uid: str | None
    txn_id: str | None
    value: bytes | None
