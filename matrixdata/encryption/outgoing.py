"""The stored queue of requests: each is kept exactly as it is until it was answered. Sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from matrixdata.encryption.port import Outgoing
from matrixdata.encryption.reading import json_text, object_at, parsed_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON, JSONObject

Kind = Literal["upload", "query", "claim", "to_device", "signatures"]

MOST_MESSAGES = 100
"""To-device messages in one request; one of ours takes 2 to 3 kB."""

_COLUMNS = "id, kind, body, event_type"


class Stored(msgspec.Struct, frozen=True):
    """A request under way, and what its maker noted about it."""

    request: Outgoing
    purpose: JSONObject


def queue(
    tx: Transaction,
    kind: Kind,
    body: Mapping[str, JSON],
    *,
    event_type: str = "",
    purpose: Mapping[str, JSON] | None = None,
) -> Outgoing:
    """Store a request behind those that wait.

    Args:
        tx: the transaction.
        kind: see `Outgoing`.
        body: what is sent, as JSON.
        event_type: of to-device events.
        purpose: what is needed when it is answered; it stays here. No secrets: it is stored in clear.
    """
    request = Outgoing(tx.me.new_id(), kind, json_text(body), event_type)
    tx.connection.execute(
        "INSERT INTO outgoing (id, number, kind, event_type, body, purpose) "
        "SELECT ?, coalesce(max(number), 0) + 1, ?, ?, ?, ? FROM outgoing",
        (request.id, kind, event_type, request.body, json_text(purpose or {}).decode()),
    )
    return request


def queue_messages(
    tx: Transaction,
    event_type: str,
    messages: Iterable[tuple[str, str, Mapping[str, JSON]]],
    *,
    purpose: Mapping[str, JSON] | None = None,
) -> tuple[Outgoing, ...]:
    """Store to-device messages, many to a request.

    Args:
        tx: the transaction.
        event_type: of all of them; `m.room.encrypted` for what `olm.encrypt` gave.
        messages: (user id, device id, content) each; one to a device. "*" stands for all devices of a user.
        purpose: noted with each of the requests.
    """
    requests: list[Outgoing] = []
    batch: dict[str, JSON] = {}
    count = 0

    def flush() -> None:
        nonlocal count
        if count:
            body: JSONObject = {"messages": batch}
            requests.append(queue(tx, "to_device", body, event_type=event_type, purpose=purpose))
            batch.clear()
            count = 0

    for user_id, device_id, content in messages:
        of_user = batch.setdefault(user_id, {})
        assert isinstance(of_user, dict)  # noqa: S101  we made it
        of_user[device_id] = dict(content)
        count += 1
        if count == MOST_MESSAGES:
            flush()
    flush()
    return tuple(requests)


def pending(tx: Transaction) -> tuple[Outgoing, ...]:
    """What was not answered yet, in the order in which it is to be sent."""
    rows = tx.connection.execute(f"SELECT {_COLUMNS} FROM outgoing ORDER BY number")  # noqa: S608  our columns
    return tuple(Outgoing(*row) for row in rows)


def under_way(tx: Transaction, kind: Kind) -> list[Stored]:
    """Requests of one kind that were not answered yet, the oldest first."""
    rows = tx.connection.execute(
        f"SELECT {_COLUMNS}, purpose FROM outgoing WHERE kind = ? ORDER BY number",  # noqa: S608  our columns
        (kind,),
    )
    return [_stored(row) for row in rows]


def stored(tx: Transaction, request_id: str) -> Stored | None:
    """The request of that id; None when it was answered before, as by another process."""
    row = tx.connection.execute(
        f"SELECT {_COLUMNS}, purpose FROM outgoing WHERE id = ?",  # noqa: S608  our columns
        (request_id,),
    ).fetchone()
    return _stored(row) if row else None


def done(tx: Transaction, request_id: str) -> None:
    """It was answered, or refused for good."""
    tx.connection.execute("DELETE FROM outgoing WHERE id = ?", (request_id,))


def _stored(row: tuple[str, Kind, bytes, str, str]) -> Stored:
    return Stored(Outgoing(*row[:4]), object_at({"purpose": parsed_object(row[4])}, "purpose"))
