"""Nested objects as struct columns: the columns below one path, folded into one.

Must not know any frame library, nor decide the types of cells: whoever asks brings that along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from matrixdata.frames.flatten import Flat, flatten, values_at
from matrixdata.frames.types import Column, Scalar, Struct
from matrixdata.model.paths import Path, format_path

Make = Callable[[str, Path, "list[Any]", "frozenset[type] | None"], "Column"]
"""Makes a column of cells: its name, its path, the cells, and their types where they are known."""
Note = Callable[[Path, str], None]
"""Told of what is not as asked, and at which path."""


@dataclass(slots=True)
class _Node:
    stated: bool = False
    """The schema lets something else than an object stand here."""
    children: dict[str, _Node] = field(default_factory=dict)


class Folding:
    """Folds the columns at and below one path.

    Args:
        rows: what stands at that path, one item a record.
        prefix: the path; () for whole records.
        declared: the types that a schema states, by path from the record's root.
        make: makes the columns in which something else than objects stands.
        note: told where objects and other values mix, so that no struct can hold them.
    """

    def __init__(
        self, rows: Sequence[object], prefix: Path, declared: Iterable[Path], *, make: Make, note: Note
    ) -> None:
        self._rows = rows
        self._prefix = prefix
        self._make = make
        self._note = note
        below = [path[len(prefix) :] for path in declared if path[: len(prefix)] == prefix]
        self.flat: Flat = flatten(rows, [path for path in below if path])
        self._root = _Node()
        for path in (*below, *self.flat.cells):
            _node(self._root, path)
        for path in below:
            _node(self._root, path).stated = True

    @property
    def keys(self) -> list[str]:
        """The keys that stand right here, those that the schema declares first."""
        return list(self._root.children)

    def whole(self, name: str) -> Column:
        """Everything here as one column."""
        return self._column(name, (), self._root)

    def member(self, name: str, key: str) -> Column:
        """Everything under one key as one column."""
        return self._column(name, (key,), self._root.children[key])

    def _column(self, name: str, path: Path, node: _Node) -> Column:
        cells = self.flat.cells.get(path)
        full = (*self._prefix, *path)
        if not node.children:
            return self._make(name, full, cells or [None] * len(self._rows), self.flat.kinds.get(path))
        objects = values_at(self._rows, path)
        mixed = any(cell is not None and cell != {} for cell in cells or ())
        if mixed or node.stated:
            if not node.stated:
                self._note(full, _WHY_NO_STRUCT)
            return Column(name, Scalar.JSON, objects)
        members = {
            key: self._column(format_path((key,)), (*path, key), child)
            for key, child in node.children.items()
        }
        return Column(name, Scalar.STRUCT, Struct(members, [type(cell) is dict for cell in objects]))


_WHY_NO_STRUCT = "not only objects, or objects with too many members for a struct; kept as objects (JSON)"


def _node(node: _Node, path: Path) -> _Node:
    for key in path:
        node = node.children.setdefault(key, _Node())
    return node
