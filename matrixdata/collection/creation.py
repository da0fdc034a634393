"""What a new collection's room is made of (client-server API, POST /createRoom). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from matrixdata.carrier.audience import ENCRYPTION, VISIBILITY
from matrixdata.collection.trust import ENCRYPTION_CONTENT, check_trust, check_user_ids
from matrixdata.encryption.port import Policy
from matrixdata.errors import TooLarge
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


class Creation(msgspec.Struct, frozen=True):
    """A collection to be made, checked."""

    name: str
    schema: CompiledSchema | None
    time: TimeField | None
    public: bool
    invite: tuple[str, ...]
    encrypted: bool = False
    trust: Policy = "cross-signed"
    members: tuple[str, ...] | None = None

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
        if self.encrypted:
            state.append({"type": ENCRYPTION, "state_key": "", "content": {**ENCRYPTION_CONTENT}})
            # Said, and not left to the server's preset, for it decides who is given keys: also those who are invited.
            shared: JSONObject = {"history_visibility": "shared"}
            state.append({"type": VISIBILITY, "state_key": "", "content": shared})
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
    trust: Policy = "cross-signed",
    members: Sequence[str] | None = None,
) -> Creation:
    """Check the arguments of `create_collection`; every mistake raises before anything is sent."""
    if encrypted and public:
        raise ValueError(
            "a public collection cannot be encrypted: whoever joins it could not read what is there already; pass "
            "encrypted=False"
        )
    check_trust(trust, members)
    invited = check_user_ids("invite", invite)
    if time_unit not in TIME_UNITS:
        raise ValueError(f"time_unit={time_unit!r}; it takes one of {', '.join(TIME_UNITS)}")
    field = None
    if time is not None:
        path = parse_path(time if isinstance(time, str) else tuple(time))
        field = TimeField(pointer(path), time_unit)
    compiled = compile_schema(cast("Mapping[str, JSON]", schema)) if schema is not None else None
    allowed = None if members is None else tuple(members)
    return Creation(checked_name(name), compiled, field, public, invited, encrypted, trust, allowed)
