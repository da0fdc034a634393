"""Which JSON values a record may hold: finite doubles, 64-bit integers, text, string keys, bounded nesting.

Finds every fault with its JSON Pointer, without recursion. Converts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Any, TypeAlias, cast

from matrixdata.model import json as model_json
from matrixdata.model.limits import MAX_DEPTH
from matrixdata.model.problem import Problem, shown

MAX_VALUES = 100_000
"""Values that are looked at; an event has bytes for fewer. Containers that share children may unfold to more
than any memory holds."""

MAX_PROBLEMS = 1_000
"""Problems that are listed for one value."""

SAFE_INTEGERS = range(-(2**53) + 1, 2**53)
"""Integers that Matrix lets stand in event content (specification, appendix "Canonical JSON")."""

WIDE_INTEGERS = range(-(2**63), 2**64)
"""Integers that a record may hold: what 64 bits hold, signed or unsigned."""

Scalars: TypeAlias = Mapping[type, Callable[[Any], bool]]
Path: TypeAlias = "tuple[Path, str | int] | None"
"""A place as (the place above it, its key or index), so that walking down costs nothing per place."""


def is_text(text: str) -> bool:
    """Whether a string is Unicode text, thus has a UTF-8 form: no surrogate stands alone in it."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _always(_value: object) -> bool:
    return True


# `in` on a range is exact for any int and does not loop.
RECORD_SCALARS: Scalars = {
    str: is_text,
    int: WIDE_INTEGERS.__contains__,
    float: math.isfinite,
    bool: _always,
    NoneType: _always,
}
WIRE_SCALARS: Scalars = {
    str: is_text,
    int: SAFE_INTEGERS.__contains__,
    bool: _always,
    NoneType: _always,
}


def pointer_of(path: Path) -> str:
    """The JSON Pointer of a place."""
    steps: list[str | int] = []
    while path is not None:
        path, step = path
        steps.append(step)
    return model_json.pointer(reversed(steps))


def is_plain(value: object, *, room: int = MAX_DEPTH, values: int = MAX_VALUES) -> bool:
    """Whether a value surely breaks no rule, told quickly: what most records are. False says nothing.

    Integers are within 64 bits with sign here, and so is whatever a schema is asked about.
    """
    return _is_plain(value, room, [values])


# One flat loop without calls, because every record passes it.
def _is_plain(value: object, room: int, left: list[int]) -> bool:  # noqa: C901, PLR0911, PLR0912  see above
    kind: type[object] = type(value)
    members: Iterable[Any]
    if kind is dict:
        for key in cast("dict[object, Any]", value):
            if type(key) is not str or not key.isascii():
                return False
        members = cast("dict[str, Any]", value).values()
    elif kind is list:
        members = cast("list[Any]", value)
    else:
        return False
    left[0] -= len(cast("list[Any]", value))
    if room <= 0 or left[0] < 0:
        return False
    for member in members:
        kind = type(member)
        if kind is float:
            if member - member != 0.0:
                return False
        elif kind is str:
            if not member.isascii() and not is_text(member):
                return False
        elif kind is int:
            if not _LEAST <= member <= _MOST:
                return False
        elif kind is dict or kind is list:
            if not _is_plain(member, room - 1, left):
                return False
        elif member is not None and kind is not bool:
            return False
    return True


_LEAST, _MOST = -(2**63), 2**63 - 1


def is_clean(
    value: object,
    *,
    scalars: Scalars = RECORD_SCALARS,
    depth: int = MAX_DEPTH,
    values: int = MAX_VALUES,
) -> bool:
    """Whether a value breaks no rule: one quick pass, level by level, that keeps no paths."""
    if scalars is RECORD_SCALARS and is_plain(value, room=depth, values=values):
        return True
    level: list[object] = [value]
    for levels_left in range(depth, -1, -1):
        below: list[object] = []
        for item in level:
            kind = type(item)
            allowed = scalars.get(kind)
            if allowed is not None:
                if not allowed(item):
                    return False
            elif not levels_left or not _gather(item, kind, below) or len(below) > values:
                return False
        if not below:
            return True
        level = below
    return False


def _gather(item: object, kind: type, below: list[object]) -> bool:
    """Add a container's children to the next level; False for what is no container or has a bad key."""
    if kind is dict:
        members = cast("dict[object, object]", item)
        for key in members:
            if type(key) is not str or not (key.isascii() or is_text(key)):
                return False
        below.extend(members.values())
    elif kind is list:
        below.extend(cast("list[object]", item))
    else:
        return False
    return True


def check(value: object, *, most: int = MAX_PROBLEMS, values: int = MAX_VALUES) -> list[Problem]:
    """Every reason why a value cannot be a record's, in document order; at most `most` of them.

    Types are taken exactly: `numpy.float64(1)` or a `datetime` is a problem here, and `to_json` converts it.
    Never raises, whatever the value, and never recurses.

    Returns:
        Problems with the rules "finite" (NaN, infinities), "integer-range" (outside -2^63 … 2^64-1),
        "unicode" (a lone surrogate in a string or key), "key" (not a string), "type", "depth" (more than
        64 containers inside one another), "size" (more than `values` values).
    """
    return _problems(value, RECORD_SCALARS, MAX_DEPTH, most, values)


def check_wire(value: object, *, depth: int = MAX_DEPTH, most: int = MAX_PROBLEMS) -> list[Problem]:
    """As `check`, for what may stand in Matrix event content: no floats, integers within ±(2^53-1).

    The server enforces this in clear rooms only, so readers of encrypted ones must check it themselves.
    """
    return _problems(value, WIRE_SCALARS, depth, most, MAX_VALUES)


def _problems(value: object, scalars: Scalars, max_depth: int, most: int, values: int) -> list[Problem]:
    if is_clean(value, scalars=scalars, depth=max_depth, values=values):
        return []
    found: list[Problem] = []
    waiting: list[tuple[object, Path, int]] = [(value, None, 0)]
    looked_at = 0
    while waiting and len(found) < most:
        item, path, depth = waiting.pop()
        looked_at += 1
        if looked_at > values:
            found.append(too_many_values(values))
            break
        if type(item) is not dict and type(item) is not list:
            reason = scalar_problem(item, scalars=scalars)
            if reason is not None:
                found.append(problem_at(path, *reason, item))
        elif depth == max_depth:
            found.append(too_deep(path, max_depth))
        else:
            if type(item) is dict:
                found.extend(_key_problems(item, path))
            children = [(child, (path, key), depth + 1) for key, child in _items(item)]
            waiting.extend(reversed(children))
    return found[:most]


def _items(container: dict[object, object] | list[object]) -> Iterable[tuple[str | int, object]]:
    if isinstance(container, list):
        return enumerate(container)
    return ((key if type(key) is str else shown(key), child) for key, child in container.items())


def _key_problems(item: dict[Any, object], path: Path) -> Iterable[Problem]:
    for key in item:
        reason = key_problem(key)
        if reason is not None:
            yield problem_at((path, key if isinstance(key, str) else shown(key)), *reason, key)


def key_problem(key: object) -> tuple[str, str] | None:
    """The rule that an object's key breaks and why, or None."""
    if type(key) is not str:
        return "key", f"keys are strings in JSON, and this one is {_a(key)}; write str(key)"
    if not is_text(key):
        return "unicode", "a key holds half of a surrogate pair, which is not text"
    return None


def scalar_problem(item: object, *, scalars: Scalars = RECORD_SCALARS) -> tuple[str, str] | None:
    """The rule that a single value breaks and why, or None."""
    kind = type(item)
    allowed = scalars.get(kind)
    if allowed is not None and allowed(item):
        return None
    if kind is str:
        return "unicode", "the string holds half of a surrogate pair, which is not text"
    if kind is int:
        limits = scalars_integers(scalars)
        return "integer-range", f"integers lie between {limits[0]} and {limits[-1]}"
    if kind is float and allowed is None:
        return "float", "a number with a fraction or exponent travels as a string here"
    if kind is float:
        return "finite", "NaN and infinities are not numbers in JSON; write None or leave the key out"
    return "type", f"JSON has no {type(item).__name__}"


def scalars_integers(scalars: Scalars) -> range:
    """The integers that a set of rules allows."""
    return SAFE_INTEGERS if scalars is WIRE_SCALARS else WIDE_INTEGERS


def problem_at(path: Path, rule: str, message: str, value: object) -> Problem:
    """A problem at a place of a walk."""
    return Problem(pointer_of(path), rule, message, shown(value))


def too_deep(path: Path, max_depth: int = MAX_DEPTH) -> Problem:
    """The problem of a container below the deepest level."""
    return Problem(
        pointer_of(path),
        "depth",
        f"more than {max_depth} containers inside one another, or one that holds itself",
    )


def too_many_values(values: int = MAX_VALUES) -> Problem:
    """The problem of a value that unfolds to more values than are looked at."""
    return Problem("", "size", f"more than {values:,} values; no event could carry it")


def _a(value: object) -> str:
    name = type(value).__name__
    return f"an {name}" if name[:1] in "aeiouAEIOU" else f"a {name}"
