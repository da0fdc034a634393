"""Equality of JSON values as JSON Schema means it (2020-12 core, section 4.2.2), in linear time.

1 equals 1.0, true does not equal 1, objects ignore the order of their keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matrixdata.model.json import JSON


def _number_key(value: float) -> str:
    if isinstance(value, float) and not value.is_integer():
        return f"n{value!r}"
    # Hexadecimal has no limit on digits, and integral floats meet their integers: 1.0 is 1, -0.0 is 0.
    return f"n{int(value):x}"


def equality_key(value: JSON) -> str:
    """A string that two JSON values share exactly when they are equal.

    A string rather than a tuple, because Python randomises string hashes: values chosen by a stranger
    cannot be made to collide. `value` must be JSON: finite numbers, string keys, bounded depth.
    """
    if isinstance(value, str):
        return f"s{len(value)}:{value}"
    if value is None or isinstance(value, bool):
        return f"b{value}"
    if isinstance(value, (int, float)):
        return _number_key(value)
    if isinstance(value, list):
        return f"a{len(value)}[{','.join(map(equality_key, value))}]"
    members = sorted(f"{len(key)}:{key}={equality_key(item)}" for key, item in value.items())
    return f"o{len(members)}{{{','.join(members)}}}"


def first_repeat(items: list[JSON]) -> tuple[int, int] | None:
    """The indexes of the first two items that are equal, or None."""
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        earlier = seen.setdefault(equality_key(item), index)
        if earlier != index:
            return earlier, index
    return None


class Choices:
    """The values of `enum` or `const`, looked up in constant time."""

    __slots__ = ("_compound", "_keys", "values")

    def __init__(self, values: Iterable[JSON]) -> None:
        self.values = tuple(values)
        self._keys = frozenset(map(equality_key, self.values))
        self._compound = any(isinstance(value, (dict, list)) for value in self.values)

    def __contains__(self, value: JSON) -> bool:
        # A big document need not be read when every choice is a scalar.
        if isinstance(value, (dict, list)) and not self._compound:
            return False
        return equality_key(value) in self._keys
