"""Records as one Arrow table for SQL: nested objects are structs, so that `nested.temp > 3` works.

DuckDB does not tell names apart that differ only in case, and would answer from one of them; so such columns get
names of their own here, which are stated. Must not lose a column silently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from matrixdata.frames import schema_columns, to_arrow
from matrixdata.frames.arrow_table import JSON_TEXT, METADATA_KEY
from matrixdata.frames.columns import MIXED_ROOT_NAME
from matrixdata.frames.flatten import values_at
from matrixdata.model.paths import Path, format_path, parse_path
from matrixdata.replica.duck_statement import fold

if TYPE_CHECKING:
    import pyarrow as pa

    from matrixdata.model.json import JSON

ROOT = "_value"
"""The column of records that are not objects, where others are."""


@dataclass(frozen=True, slots=True)
class SqlTable:
    """A table to be queried.

    Attributes:
        table: the data.
        renamed: path as text → the name it has here, of columns that differ from others only in case.
    """

    table: pa.Table
    renamed: dict[str, str] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """What to know about the names, for messages; empty where there is nothing."""
        if not self.renamed:
            return ""
        names = ", ".join(f"{path!r} is {_quoted(name)}" for path, name in list(self.renamed.items())[:10])
        return f". Keys that differ only in case have names of their own here: {names}"


@dataclass(slots=True)
class _Node:
    """The columns at and below one path."""

    own: tuple[pa.Field, Any] | None = None
    children: dict[str, _Node] = field(default_factory=dict)


def sql_table(
    values: Sequence[JSON], *, schema: object = None, meta: Mapping[str, Sequence[Any]] | None = None
) -> SqlTable:
    """A table of one row a record, with the types of `frames.to_arrow`.

    Nested objects are struct columns; where some records have an object and others something else, the column is
    JSON text, for DuckDB's ``->`` and ``->>``. A missing key and null are both NULL. Of keys that differ only in
    case (ASCII letters), the one that the schema declares keeps its name if it is the only such one; the others
    are called `Key#1`, `Key#2` …, in the order of first appearance.

    Args:
        values: the records' values.
        schema: JSON Schema as Python holds it, for types and for columns that no record has.
        meta: further columns by name, put last; they keep their names, a record's key is then spelt `"key"`.
    """
    import pyarrow as pa  # noqa: PLC0415  optional, and slow to import

    meta = dict(meta or {})
    flat = to_arrow(values, schema=schema, meta=meta)
    declared = {path[:depth] for path in schema_columns(schema) for depth in range(1, len(path) + 1)}
    tree, fixed = _Node(), []
    for made, column in zip(flat.schema, flat.columns, strict=True):
        cell = _plain(made, column)
        if made.name in meta:
            fixed.append(cell)
        else:
            path = () if made.name == MIXED_ROOT_NAME else parse_path(made.name)
            _node(tree, path).own = cell
    laying = _Laying(values, declared)
    columns = laying.members(tree, (), reserved=[*meta, *([ROOT] if tree.own else [])])
    if tree.own is not None:
        columns.append((tree.own[0].with_name(ROOT), tree.own[1]))
    columns += fixed
    table = pa.Table.from_arrays([c for _, c in columns], schema=pa.schema([f for f, _ in columns]))
    return SqlTable(table, laying.renamed)


def _plain(made: pa.Field, column: Any) -> tuple[pa.Field, Any]:  # noqa: ANN401  an Arrow array
    """One array, and no type where there are only missing values: NULL compares with everything."""
    import pyarrow as pa  # noqa: PLC0415  optional, and slow to import

    if _is_json(made) and column.null_count == len(column):
        return pa.field(made.name, pa.null()), pa.nulls(len(column))
    array = column.combine_chunks()
    return made, array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)


def _is_json(made: pa.Field) -> bool:
    return (made.metadata or {}).get(METADATA_KEY) == JSON_TEXT


def _node(tree: _Node, path: Path) -> _Node:
    for key in path:
        tree = tree.children.setdefault(key, _Node())
    return tree


class _Laying:
    """Folds the tree of columns into structs."""

    def __init__(self, values: Sequence[JSON], declared: set[Path]) -> None:
        self._values = values
        self._declared = declared
        self.renamed: dict[str, str] = {}

    def members(self, node: _Node, path: Path, reserved: Sequence[str] = ()) -> list[tuple[pa.Field, Any]]:
        """The columns of one object's members, under names that differ by more than case."""
        names = self._names(path, list(node.children), reserved)
        return [self._column(names[key], child, (*path, key)) for key, child in node.children.items()]

    def _column(self, name: str, node: _Node, path: Path) -> tuple[pa.Field, Any]:
        import pyarrow as pa  # noqa: PLC0415  optional, and slow to import

        if not node.children:
            made, array = node.own or (pa.field(name, pa.null()), pa.nulls(len(self._values)))
            return made.with_name(name), array
        cells = values_at(self._values, path)
        if node.own is not None and any(cell is not None and type(cell) is not dict for cell in cells):
            texts = [None if cell is None else json.dumps(cell, separators=(",", ":")) for cell in cells]
            return pa.field(name, pa.string(), metadata={METADATA_KEY: JSON_TEXT}), pa.array(
                texts, pa.string()
            )
        fields, arrays = zip(*self.members(node, path), strict=True)
        absent = pa.array([type(cell) is not dict for cell in cells], pa.bool_())
        struct = pa.StructArray.from_arrays(list(arrays), fields=list(fields), mask=absent)
        return pa.field(name, struct.type), struct

    def _names(self, path: Path, keys: list[str], reserved: Sequence[str]) -> dict[str, str]:
        taken = {fold(name) for name in reserved}
        plain = {key: format_path((key,), quote=fold(key) in taken) for key in keys}
        alike: dict[str, list[str]] = {}
        for key, name in plain.items():
            alike.setdefault(fold(name), []).append(key)
        taken |= set(alike)
        for group in alike.values():
            stated = [key for key in group if (*path, key) in self._declared]
            keeps = group if len(group) == 1 else stated if len(stated) == 1 else []
            number = 0
            for key in group:
                if key in keeps:
                    continue
                name = plain[key]
                while fold(name) in taken:
                    number += 1
                    name = f"{plain[key]}#{number}"
                taken.add(fold(name))
                self.renamed[format_path((*path, key))] = name
                plain[key] = name
        return plain


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
