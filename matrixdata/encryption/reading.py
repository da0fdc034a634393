"""Reading JSON that others wrote: what is not there, or is something else than expected, is None or empty."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import msgspec

from matrixdata.protocol.canonical import MAX_CONTENT_DEPTH
from matrixdata.protocol.rules import is_clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matrixdata.model.json import JSON, JSONObject


def object_at(value: Mapping[str, JSON], *keys: str) -> JSONObject:
    """The object that stands there; an empty one where there is none."""
    found: JSON = cast("JSONObject", value)
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def text_at(value: Mapping[str, JSON], *keys: str) -> str | None:
    """The string that stands there."""
    found = object_at(value, *keys[:-1]).get(keys[-1])
    return found if isinstance(found, str) else None


def texts_at(value: Mapping[str, JSON], *keys: str) -> list[str]:
    """The strings of the list that stands there."""
    found = object_at(value, *keys[:-1]).get(keys[-1])
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def parsed_object(source: bytes | str) -> JSONObject | None:
    """The object that this JSON text is; None for anything else, and where it nests deeper than an event may."""
    try:
        value = msgspec.json.decode(source)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return value if isinstance(value, dict) and is_sane(value) else None


def is_sane(value: Mapping[str, JSON]) -> bool:
    """Whether it can be written again: no deeper than an event may nest, no half surrogates, no infinite numbers."""
    return is_clean(value, depth=MAX_CONTENT_DEPTH)


def json_text(value: Mapping[str, JSON]) -> bytes:
    """JSON text in ASCII. What `is_sane` does not raise here, nor do user ids of any kind."""
    return json.dumps(value, separators=(",", ":")).encode()
