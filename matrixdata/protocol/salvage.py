"""What can be kept of an event that no JSON parser reads: its members as they stand in the text.

Does not recurse and does not decode, so that no depth, number or half surrogate of one member costs the others.
"""

from __future__ import annotations

import re

import msgspec

# Possessive, so that a string of any length takes constant memory.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},:]', re.DOTALL)


def members(raw: bytes) -> dict[str, bytes]:
    """The text of each member of a JSON object, by key; of repeated keys the last, as parsers have it.

    Members whose key cannot be read are left out. What is no object at all gives an empty dict.
    """
    found: dict[str, bytes] = {}
    if not raw.lstrip().startswith(b"{"):
        return found
    depth, key, start = 0, None, None
    for match in _TOKEN.finditer(raw):
        token = match[0]
        if token in b"[{":
            depth += 1
        elif depth == 1 and token == b":":
            start = match.end()
        elif depth == 1 and token in b",}":
            if key is not None and start is not None:
                found[key] = raw[start : match.start()].strip()
            key = start = None
            depth -= token == b"}"
        elif token in b"]}":
            depth -= 1
        elif depth == 1 and start is None and token.startswith(b'"'):
            key = text(token)
        if depth == 0:
            break
    return found


def text(raw: bytes | None) -> str | None:
    """The string that this JSON text is; None when it is anything else, or cannot be read."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
