"""The types a column can have, shared by every kind of frame. Must not import any frame library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


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


@dataclass(frozen=True, slots=True)
class ListOf:
    """An array whose items all have one type. Python lists in pandas, list<item> in Arrow."""

    item: ColumnType


ColumnType: TypeAlias = Scalar | ListOf
