"""The two JSON layers of an encrypted room event: the envelope that everybody sees, and the event inside.

Pure: no key, no database. Both are from strangers, so nothing raises.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from matrixdata.encryption.port import MEGOLM, Undecryptable
from matrixdata.protocol.canonical import MAX_NAME_BYTES

_NOTHING = msgspec.Raw(b"")
_RELATION = "m.relates_to"
_FAULTS = (msgspec.MsgspecError, UnicodeError, RecursionError)


class _Envelope(msgspec.Struct):
    algorithm: str
    session_id: str
    ciphertext: str
    sender_key: str = ""
    relation: msgspec.Raw = msgspec.field(default=_NOTHING, name=_RELATION)


class _Algorithm(msgspec.Struct):
    algorithm: str = ""


class _Inside(msgspec.Struct):
    type: str
    content: msgspec.Raw
    room_id: str


_envelope = msgspec.json.Decoder(_Envelope)
_algorithm = msgspec.json.Decoder(_Algorithm)
_inside = msgspec.json.Decoder(_Inside)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Envelope:
    """What an m.room.encrypted event shows.

    Attributes:
        sender_key: as it states it, which proves nothing; "" when it does not.
        relation: JSON text of its `m.relates_to`, b"" without one.
    """

    session_id: str
    ciphertext: str = field(repr=False)
    sender_key: str
    relation: bytes


@dataclass(frozen=True, slots=True)
class Inside:
    """What was encrypted; `content` is JSON text of an object."""

    type: str
    content: bytes = field(repr=False)
    room_id: str


def read_envelope(content: bytes) -> Envelope | Undecryptable:
    """The envelope, or why nothing can be decrypted from it."""
    try:
        read = _envelope.decode(content)
    except _FAULTS:
        return _no_envelope(content)
    if read.algorithm != MEGOLM:
        return _unsupported(read.algorithm)
    return Envelope(read.session_id, read.ciphertext, read.sender_key, bytes(read.relation))


def read_inside(plaintext: bytes) -> Inside | None:
    """The event inside; None when it is none: no object, no text, or a type longer than types are."""
    try:
        plaintext.decode()  # msgspec does not look at what it skips
        read = _inside.decode(plaintext)
        fits = len(read.type.encode()) <= MAX_NAME_BYTES
    except _FAULTS:
        return None
    content = bytes(read.content)
    return Inside(read.type, content, read.room_id) if fits and content.startswith(b"{") else None


def joined(content: bytes, relation: bytes) -> bytes | None:
    """Content with the relation that the envelope shows, which is the one that counts (spec "Forming relationships").

    Returns:
        None when the sender put a relation inside too and the envelope shows another one, or none: somebody on the
        way changed what the event is about, as which record an edit is for.
    """
    if not relation and b"relates_to" not in content and b"\\" not in content:
        return content
    try:
        members = _members.decode(content)
    except _FAULTS:
        return content  # what is wrong with it is found where content is judged
    inner = members.get(_RELATION)
    if inner is not None:
        return content if _are_equal(bytes(inner), relation) else None
    if not relation:
        return content
    return msgspec.json.encode({**members, _RELATION: msgspec.Raw(relation)})


def _are_equal(one: bytes, other: bytes) -> bool:
    if one == other:
        return True
    try:
        return bool(other) and msgspec.json.decode(one) == msgspec.json.decode(other)
    except _FAULTS:
        return False


def _no_envelope(content: bytes) -> Undecryptable:
    try:
        algorithm = _algorithm.decode(content).algorithm
    except _FAULTS:
        return Undecryptable("corrupt", "the encrypted event is malformed")
    if algorithm and algorithm != MEGOLM:
        return _unsupported(algorithm)
    return Undecryptable("corrupt", "the encrypted event lacks what it takes to decrypt it")


def _unsupported(algorithm: str) -> Undecryptable:
    return Undecryptable(
        "unsupported", f"encrypted by an algorithm that is not known here: {algorithm[:80]!r}"
    )
