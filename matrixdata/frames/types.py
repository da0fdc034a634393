"""The types a column can have, shared by every kind of frame. Must not import any frame library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias


class Scalar(Enum):
    """One value a cell. Each member names its Arrow type."""

    BOOLEAN = "bool"
    INTEGER = "int64"
    UNSIGNED = "uint64"
    NUMBER = "float64"
    STRING = "string"
    TIMESTAMP = "timestamp[us, UTC]"
    JSON = "json"
    """Anything else: mixed types, objects, mixed arrays. Python objects in pandas, JSON text in Arrow."""
    STRUCT = "struct"
    """An object with members that have types themselves; only where structs were asked for."""


@dataclass(frozen=True, slots=True)
class ListOf:
    """An array whose items all have one type. Python lists in pandas, list<item> in Arrow."""

    item: ColumnType


ColumnType: TypeAlias = Scalar | ListOf


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: unique in its frame, or in its struct.
        type: what the cells are.
        cells: Python values, None for missing; for `Scalar.TIMESTAMP` a pyarrow timestamp[us, UTC] array, for
            `Scalar.STRUCT` a `Struct`.
    """

    name: str
    type: ColumnType
    cells: Any


@dataclass(frozen=True, slots=True)
class Struct:
    """The cells of a `Scalar.STRUCT` column.

    Attributes:
        members: by key of the object, each a column of as many cells, whose name is the key as a step of a path.
        present: where there is an object; False for missing and null.
    """

    members: dict[str, Column]
    present: list[bool]
