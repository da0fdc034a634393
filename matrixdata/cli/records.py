"""Records as the command line shows them: with what surrounds the value, or cut down to some columns."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING

from matrixdata.frames.flatten import flatten
from matrixdata.model import Invalid, Record
from matrixdata.model.paths import format_path, parse_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matrixdata.model import JSON, JSONObject, Notice

META = ("event_id", "sender", "time", "row_state")


def whole(record: Record, columns: Sequence[str] | None = None) -> JSONObject:
    """A record with everything known of it; `time` is RFC 3339 in UTC. `columns` cut down its value."""
    return {
        "value": record.value if columns is None else picked(record.value, columns),
        "uid": record.uid,
        "position": str(record.position) if record.position else None,
        **meta_of(record),
    }


def meta_of(record: Record) -> JSONObject:
    """What surrounds a record's value."""
    return {
        "event_id": record.event_id,
        "sender": record.sender,
        "time": record.time.isoformat().replace("+00:00", "Z"),
        "row_state": str(record.row_state),
    }


def told(item: Record | Notice) -> JSONObject:
    """An item of `subscription.events()`: what it is, and everything known of it."""
    if isinstance(item, Record):
        return {"item": "Record", **whole(item)}
    if isinstance(item, Invalid):
        problems: list[JSON] = [str(problem) for problem in item.record.problems]
        about: JSONObject = {
            "event_id": item.record.event_id,
            "sender": item.record.sender,
            "problems": problems,
        }
    else:
        about = {each.name: _plain(getattr(item, each.name)) for each in fields(item)}
    return {"item": type(item).__name__, **about}


def _plain(value: object) -> JSON:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value if value is None or isinstance(value, (int, str)) else str(value)


def picked(value: JSON, columns: Sequence[str]) -> JSONObject:
    """The members of a value at some paths, each under its path as it was written; absent ones are absent."""
    found: JSONObject = {}
    for column in columns:
        item: JSON = value
        for key in parse_path(column):
            if not isinstance(item, dict) or key not in item:
                break
            item = item[key]
        else:
            found[column] = item
    return found


@dataclass(slots=True)
class Flat:
    """Records as a table: columns in order, and for each record a mapping of column to cell."""

    columns: list[str]
    rows: list[dict[str, JSON]]

    def add(self, column: str, cells: Iterable[JSON]) -> None:
        """One more column at the end; in parentheses where the records have one of that name."""
        name = f"({column})" if column in self.columns else column
        self.columns.append(name)
        for row, cell in zip(self.rows, cells, strict=True):
            row[name] = cell


def flat(values: Sequence[JSON], first: Sequence[str] = ()) -> Flat:
    """The values' table: nested objects become dotted columns.

    Args:
        values: the records' values.
        first: keys whose columns come first, in this order; the others follow as they were met.
    """
    cells = flatten(values).cells
    order = {key: number for number, key in enumerate(first)}
    paths = sorted(cells, key=lambda path: order.get(path[0], len(order)) if path else len(order))
    names = [format_path(path) if path else "value" for path in paths]
    table = Flat([], [{} for _ in values])
    for name, path in zip(names, paths, strict=True):
        table.add(name, cells[path])
    return table
