"""Batches: many records in one event, as JSON text that is compressed with zlib and written in base64.

Writes what docs/wire-format.md says ("Batches") and reads whatever others wrote, within hard limits on what comes
out: a few bytes may unfold to a thousand times as many.
"""

from __future__ import annotations

import binascii
import codecs
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, cast

import msgspec

from matrixdata.model.member import SEPARATOR
from matrixdata.model.problem import Problem, shown
from matrixdata.protocol.canonical import MAX_CONTENT_BYTES
from matrixdata.protocol.content import VERSION, found_problems, hash_problem, name_problem, opened
from matrixdata.protocol.edits import edited_event
from matrixdata.protocol.numbers import MAX_DEPTH, MAX_WIRE_PROBLEMS, WireError
from matrixdata.protocol.rules import check, is_clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matrixdata.model.json import JSON, JSONObject

BATCH = "io.matrixdata.batch"
RETRACTION = "io.matrixdata.retraction"

MAX_RECORDS = 10_000
"""Records in one batch."""

MAX_TEXT_BYTES = 4 * 1024 * 1024
"""What the JSON text of a batch may take, once it is out of its compression."""

MAX_BATCH_UID_BYTES = 249
"""What the uid of a batch may take, so that those of its records, `uid:9999`, are uids too."""

ENCRYPTED_CONTENT_BYTES = 43_500
"""What the content of a batch may take where it is encrypted: its ciphertext is 4/3 as large, with an envelope of
some 500 bytes, and the two have to keep within MAX_CONTENT_BYTES."""

# Text bytes that we take for one event's before we know how well the records compress.
_GUESS = 250_000
_TRIES = 4
# An event is full enough from here on.
_FULL = 0.88


class Packed(msgspec.Struct, frozen=True):
    """One batch.

    Attributes:
        content: the event's content as JSON text.
        count: how many of the records given it holds, the first ones.
    """

    content: bytes
    count: int


class Packer:
    """Fills batches with records; learns from each how many the next one will take.

    Args:
        limit: bytes that the content of an event may take.
    """

    def __init__(self, limit: int = MAX_CONTENT_BYTES) -> None:
        self._limit = limit
        self._text = _GUESS

    @property
    def wants(self) -> int:
        """Bytes of JSON text that are likely to fill the next batch."""
        return self._text

    def pack(
        self, values: Sequence[bytes], *, uid: str, uids: Sequence[str] | None, schema_hash: str | None
    ) -> Packed | None:
        """As many of the records as fit, from the first on; None where not even that one does.

        Args:
            values: the records as JSON text; at least one.
            uid: of the batch.
            uids: one for each record; None: that of the batch, a colon and the record's place.
            schema_hash: of the schema that all of them were checked against.
        """
        most = _within_text(values, uids)
        best: Packed | None = None
        count = _first(values, self._text, most)
        for _ in range(_TRIES):
            if not 0 < count <= most or (best is not None and count <= best.count):
                break
            text = _text(values[:count], uids[:count] if uids is not None else None)
            content = _content(text, uid=uid, count=count, schema_hash=schema_hash)
            ratio = self._limit / len(content)
            self._text = max(1, int(len(text) * ratio * 0.97))
            if ratio < 1:
                most = count - 1
                count = min(most, max(1, int(count * ratio * 0.97)))
            else:
                best = Packed(content, count)
                if count == most or ratio * _FULL <= 1:
                    break
                count = min(most, int(count * ratio * 0.97))
        return best if best is not None or most == 0 else self._one(values, uid, uids, schema_hash)

    def _one(
        self, values: Sequence[bytes], uid: str, uids: Sequence[str] | None, schema_hash: str | None
    ) -> Packed | None:
        text = _text(values[:1], uids[:1] if uids is not None else None)
        content = _content(text, uid=uid, count=1, schema_hash=schema_hash)
        return Packed(content, 1) if len(content) <= self._limit else None


def _within_text(values: Sequence[bytes], uids: Sequence[str] | None) -> int:
    """How many of the records may stand in one batch at most, whatever they take compressed."""
    size = 64
    for number, value in enumerate(values[:MAX_RECORDS]):
        size += len(value) + 1 + (6 * len(uids[number]) + 3 if uids is not None else 0)
        if size > MAX_TEXT_BYTES:
            return number
    return min(len(values), MAX_RECORDS)


def _first(values: Sequence[bytes], size: int, most: int) -> int:
    """How many of the records take so many bytes of text; at least one."""
    for number in range(most):
        size -= len(values[number]) + 1
        if size < 0:
            return max(1, number)
    return most


def _text(values: Sequence[bytes], uids: Sequence[str] | None) -> bytes:
    text = b'{"values":[' + b",".join(values) + b"]"
    return text + (b"}" if uids is None else b',"uids":' + msgspec.json.encode(list(uids)) + b"}")


def _content(text: bytes, *, uid: str, count: int, schema_hash: str | None) -> bytes:
    records = binascii.b2a_base64(zlib.compress(text), newline=False).decode()
    content: JSONObject = {"v": VERSION, "uid": uid, "count": count, "records": records}
    if schema_hash is not None:
        content["schema"] = schema_hash
    return msgspec.json.encode(content, order="sorted")


def derived_uid(uid: str, index: int) -> str:
    """The uid of a record in a batch that states none."""
    return f"{uid}:{index}"


# -- reading --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Member:
    """One record of a batch.

    Attributes:
        uid: None where what stands there is none.
        value: as it stands; a JSON object where there is no problem.
        problems: why it cannot be a record, whatever the room's rules; pointers lead into the value.
    """

    uid: str | None
    value: JSON
    problems: tuple[Problem, ...] = ()


class BatchContent(msgspec.Struct, frozen=True):
    """What a batch event says, its records still compressed.

    Attributes:
        uid: the sender's name for the batch.
        count: how many records it says it holds.
        schema_hash: content hash of the schema they were checked against, or None.
    """

    uid: str
    count: int
    schema_hash: str | None
    records: str

    def members(self) -> Iterator[Member]:
        """The records in order.

        Raises:
            WireError: it holds none that can be read; before the first is given.
        """
        values, uids = _parsed(_inflated(self.records))
        if len(values) != self.count:
            _refuse("/count", "count", f"it holds {len(values):,} records", self.count)
        if uids is not None and len(uids) != self.count:
            _refuse("/records", "count", f"it holds {self.count:,} records and {len(uids):,} uids", len(uids))
        # All at once, since nearly always nothing is wrong.
        clean = is_clean(values, depth=MAX_DEPTH + 1, values=MAX_TEXT_BYTES)
        return (_member(self._uid(uids, index), value, clean=clean) for index, value in enumerate(values))

    def _uid(self, uids: list[Any] | None, index: int) -> object:
        return f"{self.uid}:{index}" if uids is None else uids[index]


def unpack_batch(content: object) -> BatchContent:
    """Read a batch event's content, written by anyone, as far as it is not compressed.

    Raises:
        WireError: with pointers into the content.
    """
    members = opened(content)
    if edited_event(content) is not None:
        _refuse("/m.relates_to", "edit", "a batch cannot be an edit")
    uid, schema = members.get("uid"), members.get("schema")
    count, records = members.get("count"), members.get("records")
    problems = found_problems(
        name_problem("uid", uid, most=MAX_BATCH_UID_BYTES), hash_problem("schema", schema)
    )
    if type(count) is not int or not 1 <= count <= MAX_RECORDS:
        problems.append(
            Problem("/count", "count", f"must be a number from 1 to {MAX_RECORDS:,}", shown(count))
        )
    if not isinstance(records, str):
        problems.append(Problem("/records", "type", "must be text", shown(records)))
    if problems:
        raise WireError(problems)
    return BatchContent(
        cast("str", uid), cast("int", count), cast("str | None", schema), cast("str", records)
    )


def _inflated(records: str) -> bytes:
    """The JSON text of a batch; never more than a batch may hold, whatever it would unfold to."""
    try:
        packed = binascii.a2b_base64(records.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        _refuse("/records", "encoding", f"not base64: {error}")
    inflating = zlib.decompressobj()
    try:
        text = inflating.decompress(packed, MAX_TEXT_BYTES + 1)
    except zlib.error as error:
        _refuse("/records", "encoding", f"not zlib data: {error}")
    if len(text) > MAX_TEXT_BYTES:
        _refuse("/records", "size", f"unfolds to more than {MAX_TEXT_BYTES:,} bytes")
    if not inflating.eof:
        _refuse("/records", "encoding", "the zlib data is cut short")
    if inflating.unused_data:
        _refuse("/records", "encoding", "something stands behind the zlib data")
    return text


def _parsed(text: bytes) -> tuple[list[JSON], list[Any] | None]:
    content = _json(text)
    if not isinstance(content, dict):
        _refuse("/records", "type", "its text is not a JSON object", content)
    values, uids = content.get("values"), content.get("uids")
    if not isinstance(values, list):
        _refuse("/records", "type", "its text has no array of values", values)
    if uids is not None and not isinstance(uids, list):
        _refuse("/records", "type", "the uids in its text are not an array", uids)
    return values, uids


def _json(text: bytes) -> Any:  # noqa: ANN401  whatever JSON stands there
    if text.startswith(codecs.BOM_UTF8):
        _refuse("/records", "syntax", "its text begins with a byte order mark")
    try:
        if not text.isascii():
            text.decode()
        return msgspec.json.decode(text)
    except UnicodeDecodeError:
        _refuse("/records", "syntax", "its text is not UTF-8")
    except (msgspec.MsgspecError, RecursionError):
        pass
    # Slower, and reads what spoils one record only: half a surrogate pair, 1e400.
    try:
        return json.loads(text.decode(), parse_constant=_no_constant)
    except RecursionError:
        _refuse("/records", "depth", "its text nests too deeply to be read")
    except ValueError as error:
        _refuse("/records", "syntax", f"its text is not JSON: {error}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _member(uid: object, value: JSON, *, clean: bool) -> Member:
    problems: list[Problem] = []
    if name_problem("uid", uid) is not None:
        problems.append(Problem("", "name", "its uid is not text of 1 to 255 bytes in UTF-8", shown(uid)))
        uid = None
    if not isinstance(value, dict):
        problems.append(Problem("", "type", "a record is a JSON object", shown(value)))
    elif not clean:
        problems += check(value, most=MAX_WIRE_PROBLEMS)
    if not problems:
        return Member(cast("str", uid), value)
    return Member(cast("str | None", uid), value, WireError(problems).problems)


def without_records(content: bytes) -> bytes:
    """A batch's content as JSON text, without what it holds."""
    members = msgspec.json.decode(content)
    members.pop("records", None)
    return msgspec.json.encode(members)


# -- retractions ----------------------------------------------------------------------------------------------
def pack_retraction(event_id: str, index: int) -> JSONObject:
    """The content of the event that takes back one record of a batch: that at a place of an event, from 0."""
    return {"v": VERSION, "event_id": event_id, "index": index}


def unpack_retraction(content: object) -> tuple[str, int]:
    """What a retraction takes back: the event's id and the place in it.

    Raises:
        WireError: with pointers into the content.
    """
    members = opened(content)
    event_id, index = members.get("event_id"), members.get("index")
    problems = found_problems(name_problem("event_id", event_id))
    if not problems and SEPARATOR in cast("str", event_id):
        problems.append(Problem("/event_id", "name", "no event has such an id", shown(event_id)))
    if type(index) is not int or not 0 <= index < MAX_RECORDS:
        problems.append(Problem("/index", "count", f"must be a number below {MAX_RECORDS:,}", shown(index)))
    if problems:
        raise WireError(problems)
    return cast("str", event_id), cast("int", index)


def _refuse(pointer: str, rule: str, message: str, value: object = "") -> NoReturn:
    raise WireError([Problem(pointer, rule, message, shown(value) if value != "" else "")])
