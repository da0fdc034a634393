"""Queued records of a room, made into one batch, and taken out of it again. Inside a transaction.

Only what surely never left is packed: the server may know what has left by its transaction id. The rows of the records
stay, for whoever waits for one of them, and fare as the batch does.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from matrixdata.protocol.batch import BATCH, MAX_RECORDS, MAX_TEXT_BYTES, Packer
from matrixdata.protocol.content import RECORD
from matrixdata.replica.outbox_item import OutboxItem
from matrixdata.replica.outbox_rows import COLUMNS, add, checksum, item_of
from matrixdata.replica.wire import drop

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    """What a record's content may hold if a batch can carry it."""

    v: int
    uid: str
    value: msgspec.Raw
    numbers: msgspec.Raw = msgspec.Raw(b"[]")
    schema: str | None = None


class Packing(msgspec.Struct, frozen=True):
    """What batches are made with.

    Attributes:
        limit: bytes that the content of an event may take in a room.
        new_id: a fresh id of at least 128 random bits, safe in URLs.
    """

    limit: Callable[[str], int]
    new_id: Callable[[], str]


def pack_head(c: sqlite3.Connection, room_id: str, packing: Packing) -> list[OutboxItem]:
    """Make one batch of the records at the head of a room's queue, as many as fit; those that it holds now."""
    query = (
        f"SELECT {COLUMNS}, checksum FROM outbox WHERE state = 'queued' AND room_id = ? AND batch IS NULL"  # noqa: S608  constants
        " ORDER BY ifnull(turn, id) LIMIT ?"
    )
    rows = c.execute(query, (room_id, MAX_RECORDS))
    return _pack(c, (item_of(row[:-1]) for row in rows if checksum(item_of(row[:-1])) == row[-1]), packing)


def pack_all(c: sqlite3.Connection, items: Sequence[OutboxItem], packing: Packing) -> None:
    """Make batches of records that were stored a moment ago, one after the other; what is too large stays alone."""
    at = 0
    while at < len(items) - 1:
        at += max(1, len(_pack(c, islice(items, at, None), packing)))


def _pack(c: sqlite3.Connection, items: Iterable[OutboxItem], packing: Packing) -> list[OutboxItem]:
    found: list[OutboxItem] = []
    schema: str | None = None
    for item, named in _packable(items):
        if found and (named, item.room_id) != (schema, found[0].room_id):
            break
        schema = named
        found.append(item)
    if len(found) < 2:
        return []
    first, uid = found[0], packing.new_id()
    packed = Packer(packing.limit(first.room_id)).pack(
        [item.value for item in found], uid=uid, uids=[item.uid for item in found], schema_hash=schema
    )
    if packed is None or packed.count < 2:
        return []
    batch = OutboxItem(
        room_id=first.room_id,
        uid=uid,
        txn_id=packing.new_id(),
        type=BATCH,
        content=packed.content,
        value=b"",
        time=first.time,
        accepted_at=first.accepted_at,
        records=packed.count,
        made=True,
        turn=first.place,
    )
    key = add(c, batch)
    inside = found[: packed.count]
    c.executemany("UPDATE outbox SET batch = ? WHERE id = ?", [(key, item.id) for item in inside])
    for item in inside:
        drop(c, item.id)  # what it was encrypted as has been turned away
    return inside


def _packable(items: Iterable[OutboxItem]) -> Iterator[tuple[OutboxItem, str | None]]:
    """Items up to the first that a batch cannot carry, each with the schema it names."""
    size = 0
    for item in items:
        size += len(item.value)
        alone = item.alone or item.type != RECORD or item.batch is not None or item.state != "queued"
        if alone or item.attempts or size > MAX_TEXT_BYTES:
            return
        try:
            content = msgspec.json.decode(item.content, type=_Content)
        except msgspec.MsgspecError:
            return
        yield item, content.schema


def unpack(c: sqlite3.Connection, key: int) -> None:
    """Let the records of a made batch travel by themselves, each in the state of the batch, which is no more."""
    c.execute(
        "UPDATE outbox SET (state, reason, attempts, first_attempt, last_attempt, after_event, batch) ="
        " (SELECT b.state, b.reason, b.attempts, b.first_attempt, b.last_attempt, b.after_event, NULL FROM outbox b"
        " WHERE b.id = ?1) WHERE batch = ?1",
        (key,),
    )
    c.execute("DELETE FROM outbox WHERE id = ?", (key,))
