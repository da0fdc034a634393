"""Who may read what is written to a room, as its state has it. Pure; malformed state says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

ENCRYPTION = "m.room.encryption"
ENCRYPTED = "m.room.encrypted"
"""The type under which every encrypted event travels."""

MEMBER, VISIBILITY = "m.room.member", "m.room.history_visibility"
AUDIENCE_TYPES = (ENCRYPTION, MEMBER, VISIBILITY)
_VISIBILITIES = {"invited", "joined", "shared", "world_readable"}


class State(Protocol):
    """A state event, however it is kept."""

    @property
    def type(self) -> str: ...  # noqa: D102  Matrix's
    @property
    def state_key(self) -> str | None: ...  # noqa: D102  Matrix's
    @property
    def content(self) -> bytes: ...  # noqa: D102  JSON text


class Audience(msgspec.Struct, frozen=True):
    """Who reads a room.

    Attributes:
        encryption: content of the room's m.room.encryption, None where it has none.
        joined: user ids, invited: likewise.
        visibility: m.room.history_visibility; "shared" where nothing is said, as the specification has it.
    """

    encryption: bytes | None
    joined: frozenset[str]
    invited: frozenset[str]
    visibility: str

    @property
    def readers(self) -> frozenset[str]:
        """Who gets keys: those invited too, where they may read from their invitation on."""
        return self.joined if self.visibility == "joined" else self.joined | self.invited


def audience_of(state: Iterable[State]) -> Audience:
    """What these state events say, later ones winning."""
    encryption, visibility = None, "shared"
    membership: dict[str, object] = {}
    for row in state:
        if row.type == MEMBER and row.state_key:
            membership[row.state_key] = _members(row.content).get("membership")
        elif row.state_key == "" and row.type == ENCRYPTION:
            encryption = row.content
        elif row.state_key == "" and row.type == VISIBILITY:
            said = _members(row.content).get("history_visibility")
            visibility = said if isinstance(said, str) and said in _VISIBILITIES else "shared"
    joined = frozenset(user for user, now in membership.items() if now == "join")
    invited = frozenset(user for user, now in membership.items() if now == "invite")
    return Audience(encryption, joined, invited, visibility)


def _members(content: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
