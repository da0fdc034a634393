"""What a new collection's room is made of (client-server API, POST /createRoom). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from matrixdata.errors import TooLarge, Unsupported
from matrixdata.model import JSON, JSONObject
from matrixdata.model.json import pointer
from matrixdata.model.paths import parse_path
from matrixdata.protocol.canonical import check_size
from matrixdata.protocol.content import (
    COLLECTION,
    SCHEMA,
    CollectionState,
    SchemaReference,
    SchemaState,
    TimeField,
    pack_collection,
    pack_schema,
)
from matrixdata.protocol.time import TIME_UNITS, TimeUnit
from matrixdata.validation import CompiledSchema, compile_schema

_FIRST_VERSION = "1"
PUBLIC_WRITER_LEVEL = 10
_FORBIDDEN_STARTS = ("!", "#", "@", "-")
# The account data type that keeps the name must fit Matrix's 255 bytes together with its prefix.
MAX_NAME_BYTES = 200


def checked_name(name: str) -> str:
    """A name for a collection, or ValueError saying what is wrong with it."""
    if not isinstance(name, str):
        raise TypeError(f"a collection's name is text, not {type(name).__name__}")
    if not name or name != name.strip() or not name.isprintable():
        raise ValueError(
            f"{name!r} cannot be a collection's name: use printable text without spaces at its ends"
        )
    if name.startswith(_FORBIDDEN_STARTS):
        raise ValueError(
            f"{name!r} cannot be a collection's name: {', '.join(_FORBIDDEN_STARTS)} start ids and options"
        )
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(
            f"a collection's name takes at most {MAX_NAME_BYTES} bytes, this one {len(name.encode())}"
        )
    return name


@dataclass(frozen=True, slots=True)
class Creation:
    """A collection to be made, checked."""

    name: str
    schema: CompiledSchema | None
    time: TimeField | None
    public: bool
    invite: tuple[str, ...]

    def body(self, uid: str) -> JSONObject:
        """The body of POST /createRoom; `uid` lets a retry find the room if the answer is lost."""
        reference = SchemaReference(_FIRST_VERSION, self.schema.hash) if self.schema else None
        collection = CollectionState(
            name=self.name, uid=uid, time=self.time, schema=reference, require_schema=self.schema is not None
        )
        state: list[JSON] = [{"type": COLLECTION, "state_key": "", "content": pack_collection(collection)}]
        if self.schema is not None:
            state.append(
                {"type": SCHEMA, "state_key": _FIRST_VERSION, "content": _schema_content(self.schema)}
            )
        # private_chat: in trusted_private_chat whoever is invited could set the schema.
        body: JSONObject = {
            "preset": "public_chat" if self.public else "private_chat",
            "visibility": "private",
            "name": self.name,
            "invite": [] if self.public else [*self.invite],
            "initial_state": state,
        }
        if self.public:
            # Anyone can join a public collection and read; writing is for those who were asked to, and that
            # must not be enough to change the schema, which takes 50.
            body["power_level_content_override"] = {"events_default": PUBLIC_WRITER_LEVEL}
        return body

    @property
    def invite_later(self) -> tuple[str, ...]:
        """Who to invite once the room is made: in a public one, writers need power of their own first."""
        return self.invite if self.public else ()


def _schema_content(schema: CompiledSchema) -> JSONObject:
    content = pack_schema(SchemaState(_FIRST_VERSION, schema.text))
    try:
        check_size(content, event_type=SCHEMA, room_id="", sender="", state_key=_FIRST_VERSION)
    except TooLarge as error:
        raise TooLarge(
            error.size, error.limit, advice="The schema is too long; leave out examples."
        ) from None
    return content


def checked_creation(
    name: str,
    *,
    schema: Mapping[str, object] | str | None,
    time: str | Sequence[str] | None,
    time_unit: TimeUnit,
    encrypted: bool,
    public: bool,
    invite: Sequence[str],
) -> Creation:
    """Check the arguments of `create_collection`; every mistake raises before anything is sent."""
    if encrypted:
        raise Unsupported(
            "end-to-end encryption",
            "this version has none yet; pass encrypted=False to make a collection that the server can read",
        )
    if isinstance(invite, str):
        raise TypeError(f"invite={invite!r}; it takes a list of user ids, such as [{invite!r}]")
    for user_id in invite:
        if not user_id.startswith("@") or ":" not in user_id:
            raise ValueError(f"{user_id!r} is not a Matrix user id, which looks like @ada:example.org")
    if time_unit not in TIME_UNITS:
        raise ValueError(f"time_unit={time_unit!r}; it takes one of {', '.join(TIME_UNITS)}")
    field = None
    if time is not None:
        path = parse_path(time if isinstance(time, str) else tuple(time))
        field = TimeField(pointer(path), time_unit)
    compiled = compile_schema(cast("Mapping[str, JSON]", schema)) if schema is not None else None
    return Creation(checked_name(name), compiled, field, public, tuple(invite))
