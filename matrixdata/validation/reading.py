"""The text of a schema: from JSON text to values and back, with every limit checked before any work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, NoReturn

from matrixdata.errors import SchemaError
from matrixdata.model.limits import MAX_DEPTH
from matrixdata.model.problem import Problem, shown
from matrixdata.validation.document import faults

if TYPE_CHECKING:
    from matrixdata.model.json import JSON

MAX_TEXT = 48 * 1024
"""Longest schema in bytes of UTF-8: it travels in one state event of at most 64 KiB."""


def refuse(rule: str, message: str, value: object = "") -> NoReturn:
    """Raise SchemaError for the whole schema."""
    raise SchemaError([Problem("", rule, message, shown(value) if value != "" else "")])


def schema_hash(text: str) -> str:
    """The name of a schema: "sha256:" and 64 hexadecimal digits over the UTF-8 bytes of its exact text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def written(schema: object) -> str:
    """The one text of a schema: JSON without spaces, non-ASCII as itself, keys in the order given.

    The order is kept, since it is the order of columns that readers see.
    """
    if not isinstance(schema, (Mapping, bool)):
        kind = type(schema).__name__
        refuse("schema", f"a schema is a dict, true, false, or JSON text; this is a Python {kind}", schema)
    plain = dict(schema) if isinstance(schema, Mapping) else schema
    if found := faults(plain):
        raise SchemaError([problem for _, problem in found])
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _pairs(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add() is None
        raise _Unreadable(f"the key {shown(twice)} stands twice in one object; remove one")
    return out


def _finite(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise _Unreadable(f"the number {shown(digits)} is too large")
    return value


def _constant(name: str) -> NoReturn:
    raise _Unreadable(f"{name} is not JSON")


class _Unreadable(ValueError):
    """Our own reasons, told apart from the parser's."""


def parsed(text: str) -> JSON:
    """The values in a schema's text. Raises SchemaError: too long, too deep, or no JSON."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        refuse("unicode", "the text holds half of a surrogate pair, which is no character")
    if size > MAX_TEXT:
        refuse("size", f"the schema takes {size:,} bytes and at most {MAX_TEXT:,} are allowed; split it")
    try:
        value: JSON = json.loads(
            text, object_pairs_hook=_pairs, parse_float=_finite, parse_constant=_constant
        )
    except _Unreadable as error:
        refuse("json", str(error))
    except RecursionError:
        refuse("depth", f"nested deeper than {MAX_DEPTH} levels; move inner schemas to $defs")
    except ValueError as error:  # JSONDecodeError, and integers of thousands of digits
        refuse("json", f"this is not JSON: {error}", text)
    if found := faults(value):
        raise SchemaError([problem for _, problem in found])
    return value
