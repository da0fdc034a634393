"""A total order over JSON values, so that any result can be sorted by any path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matrixdata.model.paths import Path

_MISSING = object()


def sort_key(value: object, path: Path) -> tuple[int, Any]:
    """Order by the value at `path`: missing, null, false, true, numbers, text (by code point), the rest.

    Numbers compare exactly across integers and floats. Arrays and objects are equal to each other, so a
    stable sort leaves them in the order they had.
    """
    found = _at(value, path)
    rank = _rank(found)
    return (rank, found) if rank in {3, 4} else (rank, 0 if rank != 2 else bool(found))


def _at(value: object, path: Path) -> object:
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return _MISSING
        value = value[key]
    return value


def _rank(value: object) -> int:
    if value is _MISSING:
        return 0
    if value is None:
        return 1
    if isinstance(value, bool):
        return 2
    if isinstance(value, (int, float)):
        return 3
    return 4 if isinstance(value, str) else 5
