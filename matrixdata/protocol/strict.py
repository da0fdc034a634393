"""A JSON reader for files that people import.

What other readers bend, lose or guess is refused with its place. Reads text; opens nothing.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from matrixdata.errors import RecordInvalid
from matrixdata.model.limits import MAX_DEPTH
from matrixdata.model.problem import Problem, shown
from matrixdata.protocol.rules import Path, check, pointer_of

if TYPE_CHECKING:
    from matrixdata.model.json import JSON

_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
_BEYOND_64_BITS = 2**64
_MAX_DIGITS = 20


class _Repeated(dict[str, Any]):
    """An object in which keys came twice."""

    keys_twice: tuple[str, ...] = ()


def loads(text: str | bytes) -> JSON:
    """Read one JSON text (RFC 8259), strictly.

    Args:
        text: the text, or its bytes in UTF-8 without a byte order mark.

    Returns:
        The value; `rules.check` finds nothing wrong with it.

    Raises:
        RecordInvalid: with a JSON Pointer for a repeated key ("duplicate-key"), NaN, Infinity or 1e400
            ("finite"), an integer beyond 64 bits ("integer-range"), a lone surrogate ("unicode"); with line
            and column for malformed text ("syntax") and more than 64 levels ("depth"); with the byte for
            bytes that are not UTF-8, and for a byte order mark ("encoding").
    """
    source = _decoded(text)
    _refuse_deep(source)
    value, repeats = _parsed(source)
    # A file may hold many records; each of its values took a character at least.
    problems = _repeats(value) if repeats else check(value, values=len(source) + 1)
    if problems:
        raise _refusal(problems)
    return value


def _refusal(problems: list[Problem]) -> RecordInvalid:
    return RecordInvalid(problems, subject="JSON text")


def _decoded(text: str | bytes) -> str:
    source = text
    if isinstance(source, bytes):
        if source.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise _refusal([Problem("", "encoding", "this looks like UTF-16; JSON is written in UTF-8")])
        try:
            source = source.decode()
        except UnicodeDecodeError as error:
            message = f"byte {error.start} is not UTF-8 ({error.reason}); save the file as UTF-8"
            raise _refusal([Problem("", "encoding", message)]) from None
    if source.startswith("\ufeff"):
        message = (
            "begins with a byte order mark, which JSON has none of; open the file with encoding='utf-8-sig'"
        )
        raise _refusal([Problem("", "encoding", message)])
    return source


def _refuse_deep(source: str) -> None:
    """Find deep nesting before parsing, since the parser recurses."""
    if source.count("[") + source.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(source):
        bracket = match[0]
        if bracket in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                place = _line_and_column(source, match.start())
                message = f"more than {MAX_DEPTH} containers inside one another, at {place}"
                raise _refusal([Problem("", "depth", message)])
        elif bracket in "]}":
            depth -= 1


def _line_and_column(source: str, position: int) -> str:
    line = source.count("\n", 0, position) + 1
    return f"line {line}, column {position - source.rfind(chr(10), 0, position)}"


def _parsed(source: str) -> tuple[JSON, bool]:
    repeats = False

    def read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeats
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        repeats = True
        repeated = _Repeated(members)
        names = [key for key, _ in pairs]
        repeated.keys_twice = tuple(key for key in members if names.count(key) > 1)
        return repeated

    # NaN and Infinity are let through here, and 1e400 becomes an infinity, so that `check` finds their place.
    try:
        try:
            value = json.loads(source, object_pairs_hook=read_object)
        except json.JSONDecodeError:
            raise
        except ValueError:
            # Python refuses to read integers of thousands of digits; all that matters is where they stand.
            value = json.loads(source, object_pairs_hook=read_object, parse_int=_short_integer)
    except json.JSONDecodeError as error:
        place = _line_and_column(source, error.pos)
        near = shown(source[error.pos : error.pos + 20])
        raise _refusal([Problem("", "syntax", f"not JSON at {place}: {error.msg}", near)]) from None
    return cast("JSON", value), repeats


def _short_integer(digits: str) -> int:
    return int(digits) if len(digits) <= _MAX_DIGITS + 1 else _BEYOND_64_BITS


def _repeats(value: object) -> list[Problem]:
    problems: list[Problem] = []
    waiting: list[tuple[Any, Path]] = [(value, None)]
    while waiting:
        item, path = waiting.pop()
        if isinstance(item, _Repeated):
            problems += [
                Problem(
                    pointer_of((path, key)),
                    "duplicate-key",
                    "this key stands twice in its object",
                    shown(key),
                )
                for key in item.keys_twice
            ]
        if isinstance(item, dict):
            waiting.extend((child, (path, key)) for key, child in reversed(item.items()))
        elif isinstance(item, list):
            waiting.extend((child, (path, index)) for index, child in reversed(list(enumerate(item))))
    return problems
