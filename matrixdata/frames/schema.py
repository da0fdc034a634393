"""Column types derived once from a JSON Schema (draft 2020-12). Pure; must not import any frame library.

A schema describes what a column should be, never what it is: cells that do not fit are the business of
`frames.fit`. Schemas may come from others, so the work done here is bounded whatever the schema says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from matrixdata.frames.types import ColumnType, ListOf, Scalar

if TYPE_CHECKING:
    from matrixdata.model.paths import Path

MAX_DECLARED = 2_000
"""Columns at most that a schema declares; what lies beyond is typed by its cells."""
_MAX_NODES = 20_000
_MAX_DEPTH = 64

_SCALARS = {
    frozenset({"boolean"}): Scalar.BOOLEAN,
    frozenset({"integer"}): Scalar.INTEGER,
    frozenset({"number"}): Scalar.NUMBER,
    frozenset({"integer", "number"}): Scalar.NUMBER,
    frozenset({"string"}): Scalar.STRING,
    frozenset({"date-time"}): Scalar.TIMESTAMP,
    frozenset({"string", "date-time"}): Scalar.STRING,
}
_NARROWER = {("integer", "number"): "integer", ("date-time", "string"): "date-time"}


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a schema says of one place. `types` None: nothing, any type may stand there."""

    types: frozenset[str] | None = None
    children: Mapping[str, _Shape] = field(default_factory=dict)
    item: _Shape | None = None


_ANY = _Shape()


def schema_columns(schema: object) -> dict[Path, ColumnType]:
    """The columns that a JSON Schema declares, in the schema's order.

    Nested `properties` give paths of several keys; `allOf`, `anyOf`, `oneOf` and local `$ref` are followed.
    Types in a union with "null" count without it, since a missing cell stands for null in a frame. A property
    of no single type is `Scalar.JSON`; an object with declared properties is its members and no column.

    Args:
        schema: a JSON Schema as Python holds it; None, or anything that is no schema, declares nothing.
    """
    columns: dict[Path, ColumnType] = {}
    _collect(_Reader(schema).shape(schema), (), columns)
    return columns


def _collect(shape: _Shape, path: Path, columns: dict[Path, ColumnType]) -> None:
    column = _column_type(shape)
    if path and column is not None and len(columns) < MAX_DECLARED:
        columns[path] = column
    for key, child in shape.children.items():
        _collect(child, (*path, key), columns)


def _column_type(shape: _Shape) -> ColumnType | None:
    """The type of the cells at this very place; None where only members of an object can stand."""
    if shape.types is None:
        return None if shape.children else Scalar.JSON
    types = shape.types - {"null"}
    if types == {"object"}:
        return None
    if types == {"array"}:
        item = None if shape.item is None else _column_type(shape.item)
        # Objects in an array have no columns of their own, so such a column is JSON.
        if item is None or item is Scalar.JSON:
            return Scalar.JSON
        return ListOf(Scalar.STRING if item is Scalar.TIMESTAMP else item)
    return _SCALARS.get(types, Scalar.JSON)


class _Reader:
    """Reads one schema document, within a budget."""

    def __init__(self, document: object) -> None:
        self._document = document
        self._left = _MAX_NODES

    def shape(self, node: object, depth: int = 0, refs: tuple[str, ...] = ()) -> _Shape:
        self._left -= 1
        if not isinstance(node, Mapping) or self._left < 0 or depth > _MAX_DEPTH:
            return _ANY
        shape = self._own(node, depth, refs)
        for part in _list(node.get("allOf")):
            shape = _both(shape, self.shape(part, depth + 1, refs))
        for word in ("anyOf", "oneOf"):
            branches = [self.shape(part, depth + 1, refs) for part in _list(node.get(word))]
            if branches:
                union = branches[0]
                for branch in branches[1:]:
                    union = _either(union, branch)
                shape = _both(shape, union)
        ref = node.get("$ref")
        if isinstance(ref, str):
            # A reference to itself is a recursive type: its depth is the data's, so it declares no columns.
            target = _Shape(frozenset({"object"})) if ref in refs else self._target(ref, depth, refs)
            shape = _both(target, shape)
        return shape

    def _own(self, node: Mapping[str, Any], depth: int, refs: tuple[str, ...]) -> _Shape:
        properties = node.get("properties")
        children = (
            {key: self.shape(child, depth + 1, refs) for key, child in properties.items()}
            if isinstance(properties, Mapping)
            else {}
        )
        item = node.get("items")
        return _Shape(
            _types(node),
            children,
            self.shape(item, depth + 1, refs)
            if isinstance(item, Mapping) and "prefixItems" not in node
            else None,
        )

    def _target(self, ref: str, depth: int, refs: tuple[str, ...]) -> _Shape:
        """What a local reference points at; any shape when it is not local or points nowhere."""
        pointer = unquote(ref.removeprefix("#"))
        if not ref.startswith("#") or (pointer and not pointer.startswith("/")):
            return _ANY
        node: Any = self._document
        for token in pointer.split("/")[1:]:
            key = token.replace("~1", "/").replace("~0", "~")
            if isinstance(node, Mapping) and key in node:
                node = node[key]
            elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            else:
                return _ANY
        return self.shape(node, depth + 1, (*refs, ref))


def _list(node: object) -> list[Any]:
    return node if isinstance(node, list) else []


def _types(node: Mapping[str, Any]) -> frozenset[str] | None:
    stated = node.get("type")
    if isinstance(stated, str):
        types = {stated}
    elif isinstance(stated, list):
        types = {each for each in stated if isinstance(each, str)}
    elif "const" in node:
        types = {_type_of(node["const"])}
    elif isinstance(node.get("enum"), list):
        types = {_type_of(each) for each in node["enum"]}
    else:
        return None
    if "string" in types and node.get("format") == "date-time":
        types = (types - {"string"}) | {"date-time"}
    return frozenset(types)


def _type_of(value: object) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _both(a: _Shape, b: _Shape) -> _Shape:
    """What is said of a place by two schemas that both apply."""
    if a is _ANY or b is _ANY:
        return b if a is _ANY else a
    if a.types is None or b.types is None:
        types = b.types if a.types is None else a.types
    else:
        types = frozenset(
            _NARROWER.get((min(x, y), max(x, y)), x)
            for x in a.types
            for y in b.types
            if x == y or (min(x, y), max(x, y)) in _NARROWER
        )
    children = dict(a.children)
    for key, child in b.children.items():
        children[key] = _both(children[key], child) if key in children else child
    item = _both(a.item or _ANY, b.item or _ANY)
    return _Shape(types, children, None if item is _ANY else item)


def _either(a: _Shape, b: _Shape) -> _Shape:
    """What is said of a place by two schemas of which one applies."""
    types = None if a.types is None or b.types is None else a.types | b.types
    children = dict(a.children)
    for key, child in b.children.items():
        children[key] = _either(children[key], child) if key in children else child
    return _Shape(types, children, _either_item(a, b))


def _either_item(a: _Shape, b: _Shape) -> _Shape | None:
    if a.item is not None and b.item is not None:
        return _either(a.item, b.item)
    # A branch that allows no array says nothing of its items; one that does, and is silent, allows any.
    return a.item if _no_array(b) else b.item if _no_array(a) else None


def _no_array(shape: _Shape) -> bool:
    return shape.types is not None and "array" not in shape.types
