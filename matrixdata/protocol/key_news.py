"""What a sync response says of keys and devices, in one shape for both protocols. Pure; a bad event raises nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matrixdata.model.json import JSON

_Token = Annotated[str, msgspec.Meta(max_length=4096)]


class ToDeviceEvent(msgspec.Struct, frozen=True):
    """An event sent to this device (client-server API, "Send-to-Device messaging"); `content` is parsed JSON."""

    type: str
    sender: str
    content: Mapping[str, JSON]


class KeyNews(msgspec.Struct, frozen=True):
    """The part of a sync response that is for the encryption engine.

    Attributes:
        changed: users whose devices changed, or with whom we now share an encrypted room.
        left: users with whom we no longer share one.
        one_time_keys: unclaimed one-time keys on the server, by algorithm; None: the response does not say.
        fallback_unused: algorithms whose fallback key is unused; None: the response does not say.
        token: where the to-device stream goes on, for a source that has a token of its own for it; None otherwise.
        anew: the response does not go on from an earlier one, so device lists may have changed without a word.
        unreadable: to-device events that are none; nothing to keep but the count.
    """

    to_device: tuple[ToDeviceEvent, ...] = ()
    changed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    one_time_keys: Mapping[str, int] | None = None
    fallback_unused: tuple[str, ...] | None = None
    token: str | None = None
    anew: bool = False
    unreadable: int = 0


class _ToDevice(msgspec.Struct):
    type: str
    sender: str
    content: dict[str, Any]


class ToDeviceList(msgspec.Struct):
    """The `to_device` member of a response; `next_batch` with MSC4186 only."""

    events: list[msgspec.Raw] = []
    next_batch: _Token | None = None


class _Lists(msgspec.Struct):
    changed: list[str] = []
    left: list[str] = []


class KeyMembers(msgspec.Struct):
    """What stands at the top of a v2 response, and in the `e2ee` extension of MSC4186."""

    device_lists: _Lists | None = None
    device_one_time_keys_count: dict[str, int] | None = None
    device_unused_fallback_key_types: list[str] | None = None


_decoder = msgspec.json.Decoder(_ToDevice)


def key_news(events: Iterable[msgspec.Raw], members: KeyMembers, *, token: str | None, anew: bool) -> KeyNews:
    """The news in a response."""
    parsed = [_parsed(raw) for raw in events]
    readable = tuple(event for event in parsed if event is not None)
    lists, fallback = members.device_lists or _Lists(), members.device_unused_fallback_key_types
    return KeyNews(
        to_device=readable,
        changed=tuple(lists.changed),
        left=tuple(lists.left),
        one_time_keys=members.device_one_time_keys_count,
        fallback_unused=None if fallback is None else tuple(fallback),
        token=token,
        anew=anew,
        unreadable=len(parsed) - len(readable),
    )


def _parsed(raw: msgspec.Raw) -> ToDeviceEvent | None:
    try:
        event = _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return ToDeviceEvent(event.type, event.sender, event.content)
