"""Events as a server hands them to clients, read leniently: one bad event must not cost its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

# Timestamps outside these are no timestamps: 0001-01-01 and 9999-12-31, in milliseconds, so that every
# accepted one is a datetime.
_EARLIEST_MS, _LATEST_MS = -62_135_596_800_000, 253_402_300_799_999


@dataclass(frozen=True, slots=True)
class Event:
    """A client event (client-server API, "Room event format").

    Attributes:
        origin_server_ts: milliseconds since 1970 as the sender's server claims; not trusted for order.
        content: the content's JSON text exactly as it arrived.
        redacts: for m.room.redaction, the event it redacts (top level before room v11, in content since).
        redacted: the server says the content was removed.
        txn_id: our own transaction id, echoed only to the device that sent the event.
        fault: why the envelope is malformed, "" when it is not; such an event is kept and listed.
    """

    event_id: str
    type: str
    sender: str
    origin_server_ts: int
    content: bytes
    state_key: str | None = None
    redacts: str | None = None
    redacted: bool = False
    txn_id: str | None = None
    fault: str = ""


_ABSENT = msgspec.Raw(b"")


class _Unsigned(msgspec.Struct):
    transaction_id: str | None = None
    # Not `Raw | None`: msgspec then takes null alone, and every redacted event would be malformed.
    redacted_because: msgspec.Raw = _ABSENT


class _Wire(msgspec.Struct):
    event_id: str
    type: str
    sender: str
    content: msgspec.Raw
    origin_server_ts: int
    state_key: str | None = None
    redacts: str | None = None
    unsigned: _Unsigned | None = None


class _Redacts(msgspec.Struct):
    redacts: str | None = None


_wire = msgspec.json.Decoder(_Wire)
_redacts = msgspec.json.Decoder(_Redacts)


def parse_event(raw: bytes | msgspec.Raw) -> Event | None:
    """Read one event; None only when it has no usable event id, so that nothing could be kept under."""
    try:
        wire = _wire.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _salvage(bytes(raw), str(error))
    content = bytes(wire.content)
    fault = ""
    if not content.startswith(b"{"):
        fault = "content is not an object"
    if not _EARLIEST_MS <= wire.origin_server_ts <= _LATEST_MS:
        fault = fault or "origin_server_ts is out of range"
    unsigned = wire.unsigned
    return Event(
        event_id=wire.event_id,
        type=wire.type,
        sender=wire.sender,
        origin_server_ts=0 if fault else wire.origin_server_ts,
        content=content,
        state_key=wire.state_key,
        redacts=_redacted_id(wire, content) if wire.type == "m.room.redaction" else None,
        redacted=bool(unsigned and bytes(unsigned.redacted_because) not in {b"", b"null"}),
        txn_id=unsigned.transaction_id if unsigned else None,
        fault=fault,
    )


def _redacted_id(wire: _Wire, content: bytes) -> str | None:
    try:
        return _redacts.decode(content).redacts or wire.redacts
    except msgspec.MsgspecError:
        return wire.redacts


def _salvage(raw: bytes, fault: str) -> Event | None:
    """Keep what can be kept of a malformed event, so that it can be listed with its reason."""
    try:
        fields: Any = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("event_id"), str) or not fields["event_id"]:
        return None

    def text(key: str) -> str:
        value = fields.get(key)
        return value if isinstance(value, str) else ""

    return Event(
        event_id=fields["event_id"],
        type=text("type"),
        sender=text("sender"),
        origin_server_ts=0,
        content=msgspec.json.encode(fields.get("content")),
        fault=f"malformed event: {fault}",
    )
