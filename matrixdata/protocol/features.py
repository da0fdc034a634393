"""What an endpoint is for, in words for people, for when a server lacks it. Pure."""

from __future__ import annotations

from typing import Final

_PREFIX: Final = "/_matrix/client/"
_OF: Final = {
    "account": "looking up whose login this is",
    "account_data": "keeping names on the server (account data)",
    "context": "a room's state at an event",
    "createRoom": "making a room",
    "devices": "managing devices",
    "directory": "room aliases",
    "event": "looking up an event",
    "invite": "inviting somebody",
    "join": "joining a room",
    "joined_members": "listing a room's members",
    "joined_rooms": "listing your rooms",
    "keys": "end-to-end encryption keys",
    "leave": "leaving a room",
    "login": "logging in",
    "logout": "logging out",
    "members": "listing a room's members",
    "messages": "a room's history",
    "refresh": "renewing a login",
    "room_keys": "key backup",
    "send": "sending records",
    "sendToDevice": "messages to devices",
    "state": "a room's state",
    "sync": "syncing",
    "versions": "the Matrix client-server API",
}
_UNSTABLE: Final = {"org.matrix.simplified_msc3575": "simplified sliding sync (MSC4186)"}
# These have the id of a room or user behind them, and then what they are about.
_OWNERS: Final = frozenset({"rooms", "user"})


def feature_of(path: str) -> str:
    """What the endpoint with this path is for."""
    version, owner, name = _segments(path)
    if version == "unstable":
        return _UNSTABLE.get(owner, "something this server may not have yet")
    return _OF.get(name, "something that was asked for")


def endpoint_of(path: str) -> str:
    """The endpoint's path without ids and query, as the specification writes it."""
    version, owner, name = _segments(path)
    if not version or version == "unstable":
        return path.partition("?")[0]
    middle = f"{owner}/{{}}/" if owner else ""
    return f"{_PREFIX}{version}/{middle}{name}"


def _segments(path: str) -> tuple[str, str, str]:
    """Version, whose it is ("" for nobody's; with an unstable one, its MSC), and name."""
    bare = path.partition("?")[0]
    if not bare.startswith(_PREFIX):
        return "", "", ""
    version, _, rest = bare.removeprefix(_PREFIX).partition("/")
    if not rest:
        return "", "", version
    first, *others = rest.split("/")
    if version == "unstable":
        return version, first, ""
    if first in _OWNERS and len(others) > 1:
        return version, first, others[1]
    return version, "", first
