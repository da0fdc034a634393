"""Contents of our events: records, and the two state events of a collection.

Writes exactly what docs/wire-format.md says, reads whatever others wrote, and raises nothing but WireError
for it.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Literal, TypeAlias, cast, get_args

import msgspec

from matrixdata.errors import RecordInvalid
from matrixdata.model.problem import Problem, shown
from matrixdata.protocol.convert import to_record
from matrixdata.protocol.numbers import WireError, decode, encode
from matrixdata.protocol.rules import is_text
from matrixdata.protocol.time import TIME_UNITS, TimeUnit, is_pointer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matrixdata.model.json import JSON, JSONObject

RECORD = "io.matrixdata.record"
COLLECTION = "io.matrixdata.collection"
SCHEMA = "io.matrixdata.schema"

VERSION = 1
MAX_UID_BYTES = 255
"""What a uid, a collection's name and a schema's version may take in UTF-8."""

Compatibility: TypeAlias = Literal["none", "backward", "forward", "full"]
COMPATIBILITIES: tuple[Compatibility, ...] = get_args(Compatibility)

_HASH = re.compile(r"sha256:[0-9a-f]{64}")


class RecordContent(msgspec.Struct, frozen=True):
    """What a record event says.

    Attributes:
        uid: the sender's name for the record; means nothing without the sender.
        value: the record as it was published, numbers restored.
        schema_hash: content hash of the schema it was checked against, or None.
    """

    uid: str
    value: JSONObject
    schema_hash: str | None = None


class TimeField(msgspec.Struct, frozen=True):
    """Where records state their time: a JSON Pointer and the unit, as `read_time` takes them."""

    pointer: str
    unit: TimeUnit


class SchemaReference(msgspec.Struct, frozen=True):
    """The schema in force: the state key of its event and its content hash."""

    version: str
    hash: str


class CollectionState(msgspec.Struct, frozen=True):
    """What `io.matrixdata.collection` says of a room.

    Attributes:
        name: the collection's name as its owner gave it; claimed by the room, so hostile when shown.
        uid: made once at creation; a writer that retries the creation knows its own room by it.
        time: the time field, or None where the event's time serves.
        schema: the schema in force, or None.
        require_schema: records without a schema hash are invalid here.
    """

    name: str
    uid: str
    time: TimeField | None = None
    schema: SchemaReference | None = None
    require_schema: bool = False


class SchemaState(msgspec.Struct, frozen=True):
    """What one `io.matrixdata.schema` event says. Its author is the event's sender.

    Attributes:
        version: the state key.
        schema: the JSON Schema document as text, byte for byte as its author wrote it; not parsed here.
        compatibility: what its author promised towards the version before.
    """

    version: str
    schema: str
    compatibility: Compatibility = "none"

    @property
    def hash(self) -> str:
        """The content hash by which records name this schema."""
        return schema_hash(self.schema)


def schema_hash(schema: str) -> str:
    """`sha256:` and 64 hex digits over the UTF-8 bytes of a schema's text."""
    return "sha256:" + hashlib.sha256(schema.encode()).hexdigest()


def pack_record(
    value: object, *, uid: str, schema_hash: str | None = None, body: str | None = None
) -> JSONObject:
    """The content of a record event.

    Args:
        value: what the user published; converted by `to_record`.
        uid: 1 to 255 bytes of UTF-8, unique among the sender's records in the room.
        schema_hash: hash of the schema that the value was checked against.
        body: a line for chat clients.

    Raises:
        RecordInvalid: with the reasons why the value, or the uid, cannot be carried.
        TooLarge: where the list of numbers alone would not fit; otherwise use `canonical.check_size`.
    """
    _refuse(name_problem("uid", uid), hash_problem("schema", schema_hash), _text_problem("body", body))
    encoded, numbers = encode(to_record(value))
    content: JSONObject = {"v": VERSION, "uid": uid, "value": encoded}
    if numbers:
        content["numbers"] = cast("list[JSON]", numbers)
    if schema_hash is not None:
        content["schema"] = schema_hash
    if body is not None:
        content["body"] = body
    return content


def unpack_record(content: object) -> RecordContent:
    """Read a record event's content, written by anyone.

    Unknown keys are ignored, as is `body`.

    Raises:
        WireError: with pointers into the content: the rule "version" where `v` is not 1, or every other
            reason.
    """
    members = opened(content)
    uid, schema = members.get("uid"), members.get("schema")
    problems = found_problems(name_problem("uid", uid), hash_problem("schema", schema))
    value = members.get("value")
    if not isinstance(value, dict):
        problems.append(Problem("/value", "type", "a record is a JSON object", shown(value)))
        raise WireError(problems)
    try:
        value = cast("JSONObject", decode(value, members.get("numbers", [])))
    except WireError as error:
        problems += error.problems
    if problems:
        raise WireError(problems)
    return RecordContent(uid=cast("str", uid), value=value, schema_hash=cast("str | None", schema))


def pack_collection(state: CollectionState) -> JSONObject:
    """The content of a collection's state event (state key "").

    Raises:
        RecordInvalid: with the members that are out of bounds.
    """
    content: JSONObject = {"v": VERSION, "name": state.name, "uid": state.uid}
    if state.time is not None:
        content["time"] = {"pointer": state.time.pointer, "unit": state.time.unit}
    if state.schema is not None:
        content["schema"] = {"version": state.schema.version, "hash": state.schema.hash}
    content["require_schema"] = state.require_schema
    _refuse(*_collection_problems(content))
    return content


def parse_collection(content: object) -> CollectionState:
    """Read a collection's state event, written by anyone.

    Raises:
        WireError: with pointers into the content, as `unpack_record`. The room then has no collection
            state: no time field, no schema in force.
    """
    members = opened(content)
    problems = found_problems(*_collection_problems(members))
    if problems:
        raise WireError(problems)
    time, schema = members.get("time"), members.get("schema")
    return CollectionState(
        name=cast("str", members["name"]),
        uid=cast("str", members["uid"]),
        time=TimeField(time["pointer"], time["unit"]) if isinstance(time, dict) else None,
        schema=SchemaReference(schema["version"], schema["hash"]) if isinstance(schema, dict) else None,
        require_schema=bool(members.get("require_schema")),
    )


def pack_schema(state: SchemaState) -> JSONObject:
    """The content of a schema's state event; its state key is `state.version`.

    Raises:
        RecordInvalid: with the members that are out of bounds.
    """
    _refuse(name_problem("version", state.version), _text_problem("schema", state.schema))
    content: JSONObject = {
        "v": VERSION,
        "schema": state.schema,
        "hash": state.hash,
        "compatibility": state.compatibility,
    }
    _refuse(*_schema_problems(content))
    return content


def parse_schema(state_key: str, content: object) -> SchemaState:
    """Read a schema's state event, written by anyone. The schema's text is not parsed here.

    Raises:
        WireError: with pointers into the content; with the rule "hash" where the text does not have the
            hash that the event states.
    """
    members = opened(content)
    problems = found_problems(name_problem("version", state_key), *_schema_problems(members))
    if problems:
        raise WireError(problems)
    compatibility = cast("Compatibility", members.get("compatibility", "none"))
    return SchemaState(state_key, cast("str", members["schema"]), compatibility)


def opened(content: object) -> dict[str, object]:
    """The members of a content of our version."""
    if not isinstance(content, dict):
        raise WireError([Problem("", "type", "the content is not an object", shown(content))])
    version = content.get("v")
    if type(version) is not int or version != VERSION:
        message = f"unknown version; this reader knows version {VERSION}"
        raise WireError([Problem("/v", "version", message, shown(version))])
    return content


def _collection_problems(members: dict[str, object] | JSONObject) -> Iterable[Problem | None]:
    yield name_problem("name", members.get("name"))
    yield name_problem("uid", members.get("uid"))
    time, schema, required = members.get("time"), members.get("schema"), members.get("require_schema", False)
    if isinstance(time, dict):
        pointer = time.get("pointer")
        if not isinstance(pointer, str) or not is_text(pointer) or not is_pointer(pointer):
            yield Problem("/time/pointer", "pattern", "must be a JSON Pointer such as /ts", shown(pointer))
        yield _choice_problem("time/unit", time.get("unit"), TIME_UNITS)
    elif time is not None:
        yield Problem("/time", "type", "must be an object", shown(time))
    if isinstance(schema, dict):
        yield name_problem("schema/version", schema.get("version"))
        yield hash_problem("schema/hash", schema.get("hash"), required=True)
    elif schema is not None:
        yield Problem("/schema", "type", "must be an object", shown(schema))
    if not isinstance(required, bool):
        yield Problem("/require_schema", "type", "must be true or false", shown(required))


def _schema_problems(members: dict[str, object] | JSONObject) -> Iterable[Problem | None]:
    text, stated = members.get("schema"), members.get("hash")
    yield _choice_problem("compatibility", members.get("compatibility", "none"), COMPATIBILITIES)
    if not isinstance(text, str) or not is_text(text):
        yield Problem("/schema", "type", "must be the text of a JSON Schema", shown(text))
    elif stated != schema_hash(text):
        yield Problem("/hash", "hash", "is not the hash of this schema's text", shown(stated))


def name_problem(member: str, name: object, *, most: int = MAX_UID_BYTES) -> Problem | None:
    """Why something is no name of at most so many bytes; None when it is one."""
    if isinstance(name, str) and is_text(name) and 1 <= len(name.encode()) <= most:
        return None
    return Problem(f"/{member}", "name", f"must be text of 1 to {most} bytes in UTF-8", shown(name))


def hash_problem(member: str, stated: object, *, required: bool = False) -> Problem | None:
    """Why something is no content hash; None when it is one, or absent and not required."""
    if (stated is None and not required) or (isinstance(stated, str) and _HASH.fullmatch(stated)):
        return None
    return Problem(f"/{member}", "hash", "must be sha256: and 64 lower-case hex digits", shown(stated))


def _text_problem(member: str, text: object) -> Problem | None:
    if text is None or (isinstance(text, str) and is_text(text)):
        return None
    return Problem(f"/{member}", "unicode", "must be text without lone surrogates", shown(text))


def _choice_problem(member: str, chosen: object, choices: tuple[str, ...]) -> Problem | None:
    if isinstance(chosen, str) and chosen in choices:
        return None
    return Problem(f"/{member}", "enum", f"must be one of {', '.join(choices)}", shown(chosen))


def found_problems(*problems: Problem | None) -> list[Problem]:
    """Those that there are."""
    return [problem for problem in problems if problem is not None]


def _refuse(*problems: Problem | None) -> None:
    found = found_problems(*problems)
    if found:
        raise RecordInvalid(found, subject="event")
