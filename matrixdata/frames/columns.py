"""Record values to named, typed columns: what pandas, Arrow and Parquet frames are all made from.

Decides names, order and types once, so that every kind of frame shows the same columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from matrixdata.frames.fit import infer, settle
from matrixdata.frames.flatten import MAX_COLUMNS, flatten, values_at
from matrixdata.frames.schema import schema_columns
from matrixdata.frames.structs import Folding
from matrixdata.frames.timestamps import parse_timestamps
from matrixdata.frames.types import Column, ColumnType, ListOf, Scalar
from matrixdata.model.paths import Path, format_path, parse_path
from matrixdata.model.problem import shown

if TYPE_CHECKING:
    from matrixdata.model.json import JSON

ROOT_NAME = "value"
"""The column of records that are not objects, when none is."""
MIXED_ROOT_NAME = ""
"""The same beside objects: a text that is no path, so no key can have it."""
_UNOPENED = (
    f"more members than frames open ({MAX_COLUMNS}); the rarest are kept together here, "
    "columns= reaches them by name"
)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a frame in order, its number of rows, and notes on what is not as asked.

    Attributes:
        notes: column name → why its type is not the one the schema declares, or that it holds members
            that got no column of their own.
    """

    columns: tuple[Column, ...]
    rows: int
    notes: dict[str, str] = field(default_factory=dict)


def assemble(
    values: Sequence[JSON],
    *,
    schema: object = None,
    columns: Sequence[str] | None = None,
    meta: Mapping[str, Sequence[Any]] | None = None,
    structs: bool = False,
) -> Columns:
    """Lay record values out as columns; `frames.to_pandas` says what the arguments mean.

    Raises:
        TypeError: `columns` is not a sequence of str.
        ValueError: a name in `columns` is no path or stands there twice, or `meta` has another length.
    """
    values = values if isinstance(values, list) else list(values)
    meta = dict(meta or {})
    for name, cells in meta.items():
        if len(cells) != len(values):
            raise ValueError(f"meta[{name!r}] has {len(cells)} items for {len(values)} records")
    declared = schema_columns(schema)
    found = _Found(declared, structs=structs)
    if columns is None:
        found.add_all(values, meta)
    else:
        found.add_chosen(values, meta, columns)
    return Columns(tuple(found.columns), len(values), found.notes)


class _Found:
    """The columns so far."""

    def __init__(self, declared: dict[Path, ColumnType], *, structs: bool) -> None:
        self._declared = declared
        self._structs = structs
        self.columns: list[Column] = []
        self.notes: dict[str, str] = {}

    def add_all(self, values: list[JSON], meta: Mapping[str, Sequence[Any]]) -> None:
        if self._structs:
            self._add_folded(values, meta)
        else:
            self._add_flat(values, meta)
        for name, cells in meta.items():
            self._add_meta(name, cells)

    def _add_flat(self, values: list[JSON], meta: Mapping[str, Sequence[Any]]) -> None:
        flat = flatten(values, self._declared)
        missing = [None] * len(values)
        for path in dict.fromkeys([*self._declared, *flat.cells]):
            name = _name(path, meta) if path else self._root(values, meta)
            self._add(name, path, flat.cells.get(path, missing), flat.kinds.get(path))
            if path in flat.unopened:
                self.notes[name] = _UNOPENED

    def _add_folded(self, values: list[JSON], meta: Mapping[str, Sequence[Any]]) -> None:
        whole = self._folding(values, ())
        if () in whole.flat.cells:  # first, as among flat columns
            name = self._root(values, meta)
            self._add(name, (), whole.flat.cells[()], whole.flat.kinds.get(()))
            if () in whole.flat.unopened:
                self.notes[name] = _UNOPENED
        for key in whole.keys:
            self.columns.append(whole.member(_name((key,), meta), key))

    def _folding(self, rows: list[Any], path: Path) -> Folding:
        return Folding(rows, path, self._declared, make=self._made, note=self._note)

    def _note(self, path: Path, why: str) -> None:
        self.notes[format_path(path)] = why

    def _root(self, values: list[JSON], meta: Mapping[str, object]) -> str:
        free = ROOT_NAME not in meta and (ROOT_NAME,) not in self._declared
        return ROOT_NAME if free and not any(type(value) is dict for value in values) else MIXED_ROOT_NAME

    def add_chosen(
        self, values: list[JSON], meta: Mapping[str, Sequence[Any]], columns: Sequence[str]
    ) -> None:
        if isinstance(columns, (str, bytes)) or not all(isinstance(name, str) for name in columns):
            raise TypeError(f"columns is a list of column names, not {shown(columns)}")
        root = self._root(values, meta) if values else MIXED_ROOT_NAME
        for position, name in enumerate(columns):
            if name in columns[:position]:
                raise ValueError(f"columns names {name!r} twice")
            if name in meta:
                self._add_meta(name, meta[name])
            elif name == root:
                self._add(name, (), [value if type(value) is not dict else None for value in values])
            else:
                path = parse_path(name)
                cells = values_at(values, path)
                if self._structs:
                    self.columns.append(self._folding(cells, path).whole(name))
                else:
                    self._add(name, path, cells)

    def _add(self, name: str, path: Path, cells: list[Any], kinds: frozenset[type] | None = None) -> None:
        self.columns.append(self._made(name, path, cells, kinds, label=name))

    def _made(
        self,
        name: str,
        path: Path,
        cells: list[Any],
        kinds: frozenset[type] | None,
        label: str | None = None,
    ) -> Column:
        declared = self._declared.get(path)
        label = format_path(path) if label is None else label
        if declared is None:
            kind = infer(cells, kinds)
        else:
            kind, cells = settle(cells, declared, kinds)
        if declared is not None and kind is not declared:
            self.notes[label] = (
                f"the schema says {_label(declared)}, but not every value fits; kept as {_label(kind)}"
            )
        if kind is Scalar.TIMESTAMP:
            times = parse_timestamps(cells)
            if times is None:
                kind = Scalar.STRING
                self.notes[label] = (
                    "the schema says date-time, but not every value is an RFC 3339 time with an offset, in "
                    "whole microseconds; kept as text"
                )
            else:
                cells = times
        return Column(name, kind, cells)

    def _add_meta(self, name: str, given: Sequence[Any]) -> None:
        cells = list(given)
        if any(isinstance(cell, datetime) for cell in cells):
            import pyarrow as pa  # noqa: PLC0415  optional and slow to import

            self.columns.append(Column(name, Scalar.TIMESTAMP, pa.array(cells, pa.timestamp("us", "UTC"))))
        else:
            self.columns.append(Column(name, infer(cells), cells))


def _name(path: Path, taken: Mapping[str, object]) -> str:
    """The path as text; its quoted spelling where the caller's own column has the plain name."""
    name = format_path(path)
    return format_path(path, quote=True) if name in taken else name


def _label(kind: ColumnType) -> str:
    if isinstance(kind, ListOf):
        return f"list<{_label(kind.item)}>"
    return "objects (JSON)" if kind is Scalar.JSON else kind.value


def stated(columns: Columns, attrs: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a frame carries about itself: the caller's statement, and notes on columns where there are any."""
    return {**(attrs or {}), **({"columns": columns.notes} if columns.notes else {})}
