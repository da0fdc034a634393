"""Sync responses of both protocols (MSC4186 and v2), parsed into one shape: the SyncBatch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from matrixdata.errors import Unknown
from matrixdata.protocol.events import Event, parse_event
from matrixdata.protocol.key_news import KeyMembers, KeyNews, ToDeviceList, key_news

if TYPE_CHECKING:
    from collections.abc import Iterable


# A token goes back in the query of a URL, and servers take URLs of about 8 KiB; Synapse's have some 100 characters.
_Token = Annotated[str, msgspec.Meta(max_length=4096)]


class MalformedResponse(Unknown, ValueError):
    """The server's answer is not what the specification says it is, so what it did is not known."""


class RoomUpdate(msgspec.Struct, frozen=True):
    """What one response says of one room.

    Attributes:
        timeline: events in the order in which the server says they happened, oldest first.
        state: state events outside the timeline.
        state_first: `state` stands before the timeline (v2); else it is the state after it (MSC4186).
        prev_batch: token for /messages backwards from the first timeline event.
        limited: events between what we had and the timeline were left out.
        membership: ours: "join", "leave" or "ban"; "" when the response does not say.
        unreadable: events without so much as an id; nothing to keep but the count.
    """

    room_id: str
    timeline: tuple[Event, ...] = ()
    state: tuple[Event, ...] = ()
    state_first: bool = False
    prev_batch: str | None = None
    limited: bool = False
    membership: str = ""
    unreadable: int = 0


class SyncBatch(msgspec.Struct, frozen=True):
    """One sync response: everything in it, and the token that covers it. `keys`: None where keys were not asked for."""

    token: str
    rooms: tuple[RoomUpdate, ...] = ()
    keys: KeyNews | None = None


@dataclass(frozen=True, slots=True)
class MessagesPage:
    """One page of /messages, newest first; `end` continues it and is None at the end of history."""

    events: tuple[Event, ...]
    end: str | None
    unreadable: int = 0
    state: tuple[Event, ...] = field(default=())


class _SlidingRoom(msgspec.Struct):
    timeline: list[msgspec.Raw] = []
    required_state: list[msgspec.Raw] = []
    prev_batch: _Token | None = None
    limited: bool = False
    invite_state: list[msgspec.Raw] | None = None


class _Extensions(msgspec.Struct):
    to_device: ToDeviceList | None = None
    e2ee: KeyMembers | None = None


class _Sliding(msgspec.Struct):
    pos: _Token
    rooms: dict[str, _SlidingRoom] = {}
    extensions: _Extensions | None = None


class _Events(msgspec.Struct):
    events: list[msgspec.Raw] = []


class _Timeline(msgspec.Struct):
    events: list[msgspec.Raw] = []
    limited: bool = False
    prev_batch: _Token | None = None


class _V2Room(msgspec.Struct):
    timeline: _Timeline = msgspec.field(default_factory=_Timeline)
    state: _Events = msgspec.field(default_factory=_Events)


class _V2Rooms(msgspec.Struct):
    join: dict[str, _V2Room] = {}
    leave: dict[str, _V2Room] = {}


class _V2(KeyMembers, kw_only=True):
    next_batch: _Token
    to_device: _Events = msgspec.field(default_factory=_Events)
    rooms: _V2Rooms = msgspec.field(default_factory=_V2Rooms)


class _Messages(msgspec.Struct):
    chunk: list[msgspec.Raw]
    end: _Token | None = None
    state: list[msgspec.Raw] = []


class _JoinedRooms(msgspec.Struct):
    joined_rooms: list[str]


class _Context(msgspec.Struct):
    state: list[msgspec.Raw] = []


def decode(data: bytes, shape: type[Any] = object) -> Any:  # noqa: ANN401  its type is the shape asked for
    """JSON bytes from the server as `shape`; whatever is wrong with them becomes MalformedResponse."""
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedResponse(str(error)) from error


def _parsed(raws: Iterable[msgspec.Raw]) -> tuple[tuple[Event, ...], int]:
    events = [parse_event(raw) for raw in raws]
    kept = tuple(event for event in events if event is not None)
    return kept, len(events) - len(kept)


def parse_sliding(data: bytes, *, anew: bool = False) -> SyncBatch:
    """A simplified sliding sync response. Rooms that are only invites carry no timeline and are left out.

    Args:
        data: the body.
        anew: it was asked for without a position to go on from.
    """
    response: _Sliding = decode(data, _Sliding)
    rooms = []
    for room_id, room in response.rooms.items():
        if room.invite_state is not None:
            continue
        timeline, lost = _parsed(room.timeline)
        state, lost_state = _parsed(room.required_state)
        rooms.append(
            RoomUpdate(
                room_id,
                timeline=timeline,
                state=state,
                prev_batch=room.prev_batch,
                limited=room.limited,
                unreadable=lost + lost_state,
            )
        )
    return SyncBatch(response.pos, tuple(rooms), _sliding_keys(response.extensions, anew=anew))


def _sliding_keys(extensions: _Extensions | None, *, anew: bool) -> KeyNews | None:
    if extensions is None:
        return None
    to_device = extensions.to_device or ToDeviceList()
    return key_news(to_device.events, extensions.e2ee or KeyMembers(), token=to_device.next_batch, anew=anew)


def parse_v2(data: bytes, *, anew: bool = False) -> SyncBatch:
    """A /sync response (client-server API, "Syncing"): joined rooms and rooms left; `anew` as for `parse_sliding`."""
    response: _V2 = decode(data, _V2)
    rooms = []
    for membership, found in (("join", response.rooms.join), ("leave", response.rooms.leave)):
        for room_id, room in found.items():
            timeline, lost = _parsed(room.timeline.events)
            state, lost_state = _parsed(room.state.events)
            rooms.append(
                RoomUpdate(
                    room_id,
                    timeline=timeline,
                    state=state,
                    state_first=True,
                    prev_batch=room.timeline.prev_batch,
                    limited=room.timeline.limited,
                    membership=membership,
                    unreadable=lost + lost_state,
                )
            )
    keys = key_news(response.to_device.events, response, token=None, anew=anew)
    return SyncBatch(response.next_batch, tuple(rooms), keys)


def parse_messages(data: bytes) -> MessagesPage:
    """A page of /messages."""
    response: _Messages = decode(data, _Messages)
    events, lost = _parsed(response.chunk)
    return MessagesPage(events, response.end, lost)


def parse_joined_rooms(data: bytes) -> frozenset[str]:
    """The rooms of GET /joined_rooms."""
    response: _JoinedRooms = decode(data, _JoinedRooms)
    return frozenset(response.joined_rooms)


def parse_state(data: bytes) -> tuple[Event, ...]:
    """The list of GET /rooms/{id}/state."""
    return _parsed(decode(data, list[msgspec.Raw]))[0]


def parse_context_state(data: bytes) -> tuple[Event, ...]:
    """The state in an answer of GET /rooms/{id}/context/{eventId}."""
    response: _Context = decode(data, _Context)
    return _parsed(response.state)[0]
