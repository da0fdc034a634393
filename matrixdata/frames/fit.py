"""Which column type a list of cells has, or whether it fits the one that a schema declares.

The rule: a column type must give every value back equal, or the column keeps the Python values instead.
Must not import any frame library.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from matrixdata.frames.types import ColumnType, ListOf, Scalar

EXACT = 2**53
"""Up to here every integer is a double."""

_NONE = type(None)


def kinds_of(cells: list[Any]) -> frozenset[type]:
    """The Python types that occur, without NoneType."""
    return frozenset(map(type, cells)) - {_NONE}


def infer(cells: list[Any], kinds: frozenset[type] | None = None) -> ColumnType:
    """The narrowest type that holds every cell exactly; `Scalar.JSON` when none does or all are missing.

    Integers up to int64 or uint64; integers among floats only to 2^53, where doubles are still exact.

    Args:
        cells: Python values, None for missing.
        kinds: their types, NoneType or not, where they are known already.
    """
    kinds = kinds_of(cells) if kinds is None else kinds - {_NONE}
    if kinds == {bool}:
        return Scalar.BOOLEAN
    if kinds == {int}:
        return _integers(cells)
    if kinds and kinds <= {int, float}:
        return Scalar.NUMBER if fits(cells, Scalar.NUMBER, kinds) else Scalar.JSON
    if kinds and all(issubclass(kind, str) for kind in kinds):
        return Scalar.STRING
    if kinds == {list}:
        item = infer(_items(cells))
        return Scalar.JSON if item is Scalar.JSON else ListOf(item)
    return Scalar.JSON


def _items(cells: list[Any]) -> list[Any]:
    return list(chain.from_iterable(cell for cell in cells if cell is not None))


def _integers(cells: list[Any]) -> Scalar:
    present = [cell for cell in cells if cell is not None] if None in cells else cells
    low, high = min(present), max(present)
    if low >= -(2**63) and high < 2**63:
        return Scalar.INTEGER
    return Scalar.UNSIGNED if low >= 0 and high < 2**64 else Scalar.JSON


def fits(cells: list[Any], wanted: ColumnType, kinds: frozenset[type] | None = None) -> bool:
    """Whether the type holds every cell exactly (21 and 21.0 are equal; `true` and 1 are not).

    Timestamps are not decided here but where the text is parsed.
    """
    kinds = kinds_of(cells) if kinds is None else kinds - {_NONE}
    if not kinds or wanted is Scalar.JSON:
        return True
    if isinstance(wanted, ListOf):
        return kinds == {list} and fits(_items(cells), wanted.item)
    if wanted is Scalar.BOOLEAN:
        return kinds == {bool}
    if wanted in (Scalar.STRING, Scalar.TIMESTAMP):
        return all(issubclass(kind, str) for kind in kinds)
    return kinds <= {int, float} and _fits_number(cells, kinds, wanted)


def _fits_number(cells: list[Any], kinds: frozenset[type], wanted: Scalar) -> bool:
    if wanted is Scalar.NUMBER:
        integers = [cell for cell in cells if type(cell) is int] if int in kinds else []
        return not integers or (min(integers) >= -EXACT and max(integers) <= EXACT)
    if float in kinds:
        if not all(cell.is_integer() for cell in cells if type(cell) is float):
            return False
        cells = [None if cell is None else int(cell) for cell in cells]
    return _integers(cells) is wanted


def settle(
    cells: list[Any], declared: ColumnType, kinds: frozenset[type] | None = None
) -> tuple[ColumnType, list[Any]]:
    """The type to use for cells that a schema says are `declared`, and the cells in that type.

    Where the cells do not fit: integers beyond int64 are unsigned if that helps, everything else is JSON.
    In a column of integers 21.0 becomes 21, which JSON Schema too takes for an integer.
    """
    kinds = kinds_of(cells) if kinds is None else kinds - {_NONE}
    if declared is not Scalar.INTEGER:
        return (declared if fits(cells, declared, kinds) else Scalar.JSON), cells
    for integer in (Scalar.INTEGER, Scalar.UNSIGNED):
        if fits(cells, integer, kinds):
            whole = float not in kinds
            return integer, cells if whole else [None if cell is None else int(cell) for cell in cells]
    return Scalar.JSON, cells
