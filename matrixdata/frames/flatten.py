"""Records to columns of cells and back: nested objects become paths, so that no key hides another.

Each record is flattened by itself: an object with members is replaced by its members, everything else
(scalars, arrays, the empty object) is a cell at its path. Must not know types or frame libraries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import itemgetter
from typing import Any

from matrixdata.model.paths import Path, parse_path

MAX_COLUMNS = 2_000
"""Columns at most that records may open by themselves. Members beyond stay together in an object cell of the
column of their parent, so a hostile record of ten thousand keys costs no ten thousand columns."""
MAX_DEPTH = 64
"""Objects nested deeper stay whole in one cell."""

_EMPTY: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Flat:
    """Cells by path, one per record in each list; None where a record has none there, or null.

    Attributes:
        cells: the path () holds what is no member of any object: records that are not objects themselves.
        kinds: the Python types among the cells, where flattening met them; others are to be looked up.
        unopened: paths whose cells hold objects that could have had columns but for `MAX_COLUMNS`.
    """

    cells: dict[Path, list[Any]] = field(default_factory=dict)
    kinds: dict[Path, frozenset[type]] = field(default_factory=dict)
    unopened: set[Path] = field(default_factory=set)


def flatten(values: Sequence[object], declared: Iterable[Path] = ()) -> Flat:
    """The cells of every path that occurs.

    Args:
        values: the records.
        declared: paths that get their column before others when there are more than `MAX_COLUMNS`.
    """
    flat = Flat()
    declared = list(declared)
    _place(list(values), (), flat, {path[:n] for path in declared for n in range(1, len(path) + 1)})
    if (declared or len(flat.cells) > 1) and all(
        cell is None or cell == _EMPTY for cell in flat.cells.get((), ())
    ):
        flat.cells.pop((), None)  # a row of nothing but missing cells says as much
    return flat


def _place(cells: list[Any], path: Path, flat: Flat, declared: set[Path]) -> None:
    """Add the column(s) of one path: the cells themselves, and those of the objects among them."""
    kinds = frozenset(map(type, cells))
    if dict not in kinds or len(path) >= MAX_DEPTH:
        flat.cells[path] = cells
        flat.kinds[path] = kinds
        return
    rest: list[Any] = []
    if kinds == {dict} and all(cells):  # nothing but objects with members, as a column of records is
        rows = cells
    else:
        rows = [cell if type(cell) is dict else _EMPTY for cell in cells]
        rest = [None if type(cell) is dict and cell else cell for cell in cells]
    members = _uniform(rows, MAX_COLUMNS - len(flat.cells))
    if members is None:
        keys = dict.fromkeys(chain.from_iterable(rows))
        kept = _affordable(keys, rows, path, len(flat.cells), declared)
        if len(kept) < len(keys):
            flat.unopened.add(path)
            left = [{key: row[key] for key in row if key not in kept} for row in rows]
            rest = [others or cell for others, cell in zip(left, rest or repeat(None), strict=False)]
        members = {key: _members(rows, key) for key in kept}
    if any(cell is not None for cell in rest):
        flat.cells[path] = rest
    for key, column in members.items():
        _place(column, (*path, key), flat, declared)


def _uniform(rows: list[dict[str, Any]], room: int) -> dict[str, list[Any]] | None:
    """The members by key if all rows have the same keys, and no more than there is room for.

    Rows of equal length that each have every key of the first have exactly its keys: seen without looking at
    each key of each row, which would be a fifth of the time of a whole frame.
    """
    if not 0 < len(rows[0]) <= room or len(set(map(len, rows))) > 1:
        return None
    try:
        return {key: list(map(itemgetter(key), rows)) for key in rows[0]}
    except KeyError:
        return None


def _affordable(
    keys: dict[str, None], rows: list[dict[str, Any]], path: Path, used: int, declared: set[Path]
) -> dict[str, None]:
    """The keys that get a column: all, or where that is too many, the declared and the most frequent."""
    room = MAX_COLUMNS - used
    if len(keys) <= room:
        return keys
    wanted = {key for key in keys if (*path, key) in declared}
    often = Counter(chain.from_iterable(rows)).most_common(max(0, room))
    wanted.update(key for key, _ in often[: max(0, room - len(wanted))])
    return {key: None for key in keys if key in wanted}


def _members(rows: list[dict[str, Any]], key: str) -> list[Any]:
    try:
        return list(map(itemgetter(key), rows))  # three times as fast as .get, and most columns are full
    except KeyError:
        return [row.get(key) for row in rows]


def values_at(values: Sequence[object], path: Path) -> list[Any]:
    """What stands at one path of every record, objects whole; None where nothing does."""
    cells = list(values)
    for key in path:
        cells = [cell.get(key) if type(cell) is dict else None for cell in cells]
    return cells


def unflatten(row: Mapping[str, Any]) -> dict[str, Any]:
    """The record of one row whose keys are paths as text: the inverse of how frames name columns.

    Raises:
        ValueError: a key is no path, or one path goes through another's value.
    """
    record: dict[str, Any] = {}
    for name, cell in row.items():
        *parents, last = parse_path(name)
        inside = record
        for key in parents:
            inside = inside.setdefault(key, {})
            if not isinstance(inside, dict):
                raise ValueError(  # noqa: TRY004  two names contradict; no argument has a wrong type
                    f"the column {name!r} lies inside the value of another column"
                )
        _put(inside, last, cell, name)
    return record


def _put(inside: dict[str, Any], key: str, cell: object, name: str) -> None:
    there = inside.get(key)
    if key not in inside:
        # A copy, since members from other columns may be added to it and the row is the caller's.
        inside[key] = dict(cell) if isinstance(cell, Mapping) else cell
    elif isinstance(there, dict) and isinstance(cell, Mapping) and not there.keys() & cell.keys():
        there.update(cell)
    else:
        raise ValueError(f"the column {name!r} has a value where another column has one too")
