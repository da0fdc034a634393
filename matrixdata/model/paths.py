"""Dotted paths: how a key, or a key inside a key, is written as one piece of text.

`a.b` is the member `b` of the object under `a`. A key that is empty or holds a dot, a double quote or a
control character stands in double quotes with JSON string escapes: `nested."a.b"`, `""`. Steps are object
keys only: digits name the key of that spelling, never an element of an array.
"""

from __future__ import annotations

import json
import re
from typing import TypeAlias

Path: TypeAlias = "tuple[str, ...]"

_NEEDS_QUOTES = re.compile(r'[."\x00-\x1f\x7f-\x9f\ud800-\udfff]|\A\Z')
_BARE = re.compile(r'[^."\x00-\x1f\x7f-\x9f]+')
_ESCAPED = re.compile(r"[\x7f-\x9f\ud800-\udfff]")
"""What json.dumps leaves as it is. Surrogates: raw events may have such keys, and UTF-8 has none for them."""
_QUOTED = json.JSONDecoder()


def _quoted(key: str) -> str:
    text = json.dumps(key, ensure_ascii=False)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def format_path(path: Path, *, quote: bool = False) -> str:
    """Write a path as text; `parse_path` reads it back.

    Different paths have different texts, so the texts serve as column names.

    Args:
        path: one or more object keys, outermost first.
        quote: write every step in quotes, also where none are needed: a second spelling of the same path,
            for when the plain one is taken.

    Raises:
        ValueError: the path is empty.
    """
    if not path:
        raise ValueError("a path needs at least one key")
    return ".".join(_quoted(key) if quote or _NEEDS_QUOTES.search(key) else key for key in path)


def _step(text: str, start: int) -> tuple[str, int]:
    """One key of `text` at `start`, and where it ends."""
    if text.startswith('"', start):
        try:
            key, end = _QUOTED.raw_decode(text, start)
        except ValueError:
            raise ValueError(
                f"the path {text!r} has a quoted key that is not a JSON string at character {start}"
            ) from None
        return key, end
    found = _BARE.match(text, start)
    if found is None:
        raise ValueError(
            f"the path {text!r} lacks a key at character {start}; write keys as a.b, and an empty key, "
            'or one with a dot or a quote in it, in double quotes: nested."a.b"'
        )
    return found[0], found.end()


def parse_path(path: str | Path) -> Path:
    """Read a path: text as `format_path` writes it, or a tuple of keys, taken as it is.

    Quotes around a key that needs none are accepted.

    Raises:
        TypeError: neither text nor a tuple of str.
        ValueError: the text is no path, or the path is empty.
    """
    if isinstance(path, tuple):
        if not all(isinstance(key, str) for key in path):
            raise TypeError(f"the keys of a path are str, not {path!r}; elements of arrays have no path")
        if not path:
            raise ValueError("a path needs at least one key")
        return path
    if not isinstance(path, str):
        raise TypeError(f"a path is str or a tuple of str, not {type(path).__name__}")
    keys = []
    at = 0
    while True:
        key, at = _step(path, at)
        keys.append(key)
        if at == len(path):
            return tuple(keys)
        if path[at] != ".":
            raise ValueError(f"the path {path!r} needs a dot at character {at}, or the whole key in quotes")
        at += 1
