"""Records as a table of plain text, no wider than the terminal. Needs no pandas; prints nothing itself."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matrixdata.model.problem import safe_text

if TYPE_CHECKING:
    from matrixdata.model import JSON

MOST_IN_A_CELL = 48
_GAP = "  "


@dataclass(frozen=True, slots=True)
class Table:
    """A table ready to print.

    Attributes:
        text: its lines; the first is the header.
        left_out: columns for which there was no room.
    """

    text: str
    left_out: tuple[str, ...] = ()


def table(rows: Sequence[Mapping[str, JSON]], columns: Sequence[str], *, width: int) -> Table:
    """Lay out rows under columns; numbers to the right, the rest to the left, absent and null empty.

    Args:
        rows: each a mapping of column to value.
        columns: which, in this order; as many of them are shown as fit, at least one.
        width: of the terminal, in characters.
    """
    shown: list[list[str]] = []
    left = width
    for column in columns:
        cells = [column_name(column), *(_cell(row.get(column)) for row in rows)]
        wide = max(map(_width, cells))
        if shown and wide > left:
            break
        numeric = _numeric([row.get(column) for row in rows])
        shown.append([_padded(cell, wide, right=numeric) for cell in cells])
        left -= wide + len(_GAP)
    lines = [_GAP.join(cells).rstrip() for cells in zip(*shown, strict=True)]
    return Table("\n".join(lines), tuple(map(column_name, columns[len(shown) :])))


def column_name(column: str) -> str:
    """A column's name as the header shows it."""
    return _cut(safe_text(column))


def _cell(value: JSON) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _cut(safe_text(text))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_IN_A_CELL else text[: MOST_IN_A_CELL - 1] + "…"


def _numeric(values: Sequence[JSON]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(type(value) in {int, float} for value in present)


def _width(text: str) -> int:
    """How many places a terminal gives it: East Asian wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _padded(text: str, wide: int, *, right: bool) -> str:
    space = " " * (wide - _width(text))
    return space + text if right else text + space
