"""What a redaction leaves of a state event's content (room versions 11 and 12, "Redactions"). Pure."""

from __future__ import annotations

from typing import Final

import msgspec

_ALL: Final = None
_LEFT: Final[dict[str, frozenset[str] | None]] = {
    "m.room.create": _ALL,
    "m.room.member": frozenset({"membership", "join_authorised_via_users_server"}),
    "m.room.join_rules": frozenset({"join_rule", "allow"}),
    "m.room.history_visibility": frozenset({"history_visibility"}),
    "m.room.power_levels": frozenset(
        {
            *("ban", "events", "events_default", "invite", "kick", "redact"),
            *("state_default", "users", "users_default"),
        }
    ),
}


def pruned(event_type: str, content: bytes) -> bytes:
    """The content that is left of a redacted state event: what the room's rules need, often nothing."""
    left = _LEFT.get(event_type, frozenset())
    if left is None:
        return content
    if not left:
        return b"{}"
    try:
        members = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:
        return b"{}"
    return msgspec.json.encode({key: value for key, value in members.items() if key in left})
