"""The order in which messages that came together are decrypted: within each chain of a ratchet, as they were written.

An Olm session keeps the keys of 40 messages that it skipped. A server that hands over a hundred of them the wrong way
round would otherwise cost the first sixty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matrixdata.encryption.olm_decryption import Message

# Fields of an Olm message (Olm specification, "The Olm Message Format"), as protocol buffers tag them.
_RATCHET_KEY, _CHAIN_INDEX = 0x0A, 0x10
_INNER_MESSAGE = 0x22  # of a pre-key message
_LENGTHS, _VARINT = 2, 0

_Place = tuple[str, bytes]


def in_order(messages: Sequence[Message]) -> list[Message]:
    """The messages, those of each chain among the places that they hold together; the others stay where they are."""
    places: dict[_Place, list[tuple[int, int]]] = {}
    for position, message in enumerate(messages):
        chain = _chain(message.kind, message.ciphertext)
        if chain is not None:
            places.setdefault((message.sender_key, chain[0]), []).append((chain[1], position))
    ordered = list(messages)
    for indexes in places.values():
        positions = sorted(position for _, position in indexes)
        for position, (_, origin) in zip(positions, sorted(indexes), strict=True):
            ordered[position] = messages[origin]
    return ordered


def _chain(kind: int, ciphertext: bytes) -> tuple[bytes, int] | None:
    """The ratchet key and the chain index that a message shows; None where it cannot be read."""
    inner = ciphertext
    if kind == 0:
        found = _fields(ciphertext).get(_INNER_MESSAGE)
        if not isinstance(found, bytes):
            return None
        inner = found
    fields = _fields(inner)
    key, index = fields.get(_RATCHET_KEY), fields.get(_CHAIN_INDEX)
    return (key, index) if isinstance(key, bytes) and isinstance(index, int) else None


def _fields(data: bytes) -> dict[int, bytes | int]:
    """Tag → value, after the version byte, as far as it can be read.

    The first of each: behind the fields stands a code that authenticates them, and its bytes can look like tags.
    """
    fields: dict[int, bytes | int] = {}
    at = 1
    while at < len(data):
        tag = data[at]
        value, at = _varint(data, at + 1)
        if tag & 7 == _LENGTHS:
            fields.setdefault(tag, data[at : at + value])
            at += value
        elif tag & 7 == _VARINT:
            fields.setdefault(tag, value)
        else:
            break
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            break
    return value, at
