"""The type of a JSON value as Python holds it, and JSON Pointers (RFC 6901) into it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"
JSONObject: TypeAlias = "dict[str, JSON]"


def pointer_token(key: str | int) -> str:
    """One step of a JSON Pointer, escaped as RFC 6901 section 3 says: `~` → `~0`, `/` → `~1`."""
    return str(key).replace("~", "~0").replace("/", "~1")


def pointer(path: Iterable[str | int]) -> str:
    """The JSON Pointer of a path of keys and indexes; the empty path is the whole document, ""."""
    return "".join(f"/{pointer_token(step)}" for step in path)
