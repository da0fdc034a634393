"""Events as a server hands them to clients, read leniently: one bad event must not cost its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from matrixdata.protocol.salvage import members, text

# Timestamps outside these are no timestamps: 0001-01-01 and 9999-12-31, in milliseconds, so that every
# accepted one is a datetime.
_EARLIEST_MS, _LATEST_MS = -62_135_596_800_000, 253_402_300_799_999
# Of ids, types and state keys, in bytes of UTF-8 (client-server API, "Size limits").
_LONGEST_NAME = 255


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
    if not _fits(wire.event_id):
        return None
    content = bytes(wire.content)
    fault = _fault(wire, content)
    unsigned = wire.unsigned
    return Event(
        event_id=wire.event_id,
        type=_cut(wire.type),
        sender=_cut(wire.sender),
        origin_server_ts=0 if fault else wire.origin_server_ts,
        content=content,
        state_key=wire.state_key if wire.state_key is None else _cut(wire.state_key),
        redacts=_redacted_id(wire, content) if wire.type == "m.room.redaction" else None,
        redacted=bool(unsigned and bytes(unsigned.redacted_because) not in {b"", b"null"}),
        txn_id=unsigned.transaction_id if unsigned else None,
        fault=fault,
    )


def _fault(wire: _Wire, content: bytes) -> str:
    if not content.startswith(b"{"):
        return "content is not an object"
    if not _EARLIEST_MS <= wire.origin_server_ts <= _LATEST_MS:
        return "origin_server_ts is out of range"
    if not _is_utf8(content):
        return "content is not UTF-8"
    for name, value in (("type", wire.type), ("sender", wire.sender), ("state_key", wire.state_key)):
        if value and len(value) * 4 > _LONGEST_NAME and len(value.encode()) > _LONGEST_NAME:
            return f"{name} is longer than {_LONGEST_NAME} bytes"
    return ""


def _fits(event_id: str) -> bool:
    # With a tab and more behind it, an id is the name of a record in a batch (model.member).
    return 0 < len(event_id.encode()) <= _LONGEST_NAME and event_id.isprintable()


def _cut(name: str) -> str:
    return name[:_LONGEST_NAME]


def _is_utf8(content: bytes) -> bool:
    if content.isascii():
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _redacted_id(wire: _Wire, content: bytes) -> str | None:
    try:
        return _redacts.decode(content).redacts or wire.redacts
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return wire.redacts


def _salvage(raw: bytes, fault: str) -> Event | None:
    """Keep what can be kept of a malformed event, so that it can be listed with its reason."""
    found = members(raw)
    event_id = text(found.get("event_id"))
    if event_id is None or not _fits(event_id):
        return None
    return Event(
        event_id=event_id,
        type=_cut(text(found.get("type")) or ""),
        sender=_cut(text(found.get("sender")) or ""),
        origin_server_ts=0,
        content=found.get("content", b"null"),
        fault=f"malformed event: {fault}",
    )
