"""Roles and power levels, mapped both ways (client-server API, m.room.power_levels). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from matrixdata.protocol.content import RECORD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matrixdata.model import JSONObject
    from matrixdata.replica.rows import StateRow

Role = Literal["reader", "writer", "owner"]
OWNER_LEVEL = 100
# Room version 12 gives creators more power than any number; this stands for it where a number is shown.
CREATOR_LEVEL = 2**53 - 1


class PowerLevels(msgspec.Struct, frozen=True):
    """The power levels of one room; malformed parts count as absent."""

    content: Mapping[str, Any]
    creators: frozenset[str] = frozenset()

    def of(self, user_id: str) -> int:
        """A user's power level."""
        if user_id in self.creators:
            return CREATOR_LEVEL
        users = self.content.get("users")
        level = users.get(user_id) if isinstance(users, dict) else None
        return _number(level, _number(self.content.get("users_default"), 0))

    @property
    def to_write(self) -> int:
        """The level needed to publish records."""
        events = self.content.get("events")
        level = events.get(RECORD) if isinstance(events, dict) else None
        return _number(level, _number(self.content.get("events_default"), 0))

    @property
    def to_own(self) -> int:
        """The level needed to change the collection and its schema."""
        return _number(self.content.get("state_default"), 50)

    def to_set(self, event_type: str) -> int:
        """The level needed to set state of a type."""
        events = self.content.get("events")
        level = events.get(event_type) if isinstance(events, dict) else None
        return _number(level, self.to_own)

    def role(self, user_id: str) -> Role:
        """What a user may do here."""
        level = self.of(user_id)
        if level >= max(self.to_own, self.to_write):
            return "owner"
        return "writer" if level >= self.to_write else "reader"

    def granting(self, user_id: str, role: Role) -> JSONObject | None:
        """The content that gives a user a role; None when they have exactly that already."""
        if self.role(user_id) == role:
            return None
        levels = {
            "owner": max(OWNER_LEVEL, self.to_own),
            "writer": self.to_write,
            "reader": self.to_write - 1,
        }
        users = self.content.get("users")
        changed = dict(users) if isinstance(users, dict) else {}
        changed[user_id] = levels[role]
        return {**self.content, "users": changed}


def _number(level: object, default: int) -> int:
    # Beyond what canonical JSON holds it is no level; as a frame's column it would not even fit.
    if isinstance(level, int) and not isinstance(level, bool) and abs(level) < 2**53:
        return level
    return default


def read_power_levels(state: Iterable[StateRow]) -> PowerLevels:
    """Power levels and (from room version 12) creators, from a room's current state."""
    levels: Mapping[str, Any] = {}
    creators: set[str] = set()
    for row in state:
        if row.type == "m.room.power_levels" and row.state_key == "":
            levels = _object(row.content)
        elif row.type == "m.room.create" and row.state_key == "":
            creators = _creators(row)
    return PowerLevels(levels, frozenset(creators))


def _creators(row: StateRow) -> set[str]:
    content = _object(row.content)
    version = content.get("room_version")
    # No more digits than versions will have: Python refuses to read thousands of them.
    if not isinstance(version, str) or not version.isdecimal() or len(version) > 4 or int(version) < 12:
        return set()
    more = content.get("additional_creators")
    return (
        {row.sender, *(user for user in more if isinstance(user, str))}
        if isinstance(more, list)
        else {row.sender}
    )


def _object(raw: bytes) -> dict[str, Any]:
    try:
        content = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
