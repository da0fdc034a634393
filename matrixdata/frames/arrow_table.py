"""Record values to a pyarrow Table with explicit types. Imports pyarrow when called."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matrixdata.errors import MissingExtra
from matrixdata.frames.columns import assemble, stated
from matrixdata.frames.types import Column, ColumnType, ListOf, Scalar

if TYPE_CHECKING:
    import pyarrow as pa

    from matrixdata.model.json import JSON

METADATA_KEY = b"matrixdata"
"""Of a table's schema: what the frame states about itself, as JSON. Of a field: `JSON_TEXT`."""
KEY = b"matrixdata.key"
"""Of a struct's member: the object's key as JSON text, where the member's name is not that key."""
JSON_TEXT = b"json"
"""Field metadata: the strings of this column are JSON texts, one value each."""


def to_arrow(
    values: Sequence[JSON],
    *,
    schema: object = None,
    columns: Sequence[str] | None = None,
    meta: Mapping[str, Sequence[Any]] | None = None,
    attrs: Mapping[str, Any] | None = None,
    structs: bool = False,
) -> pa.Table:
    """A pyarrow Table of one row a record, with the columns and arguments of `to_pandas`.

    Types: bool, int64, uint64, double, string, timestamp[us, UTC], and list<…> of these for arrays whose
    items have one type. What has no such type, and columns of nothing but missing values, are JSON text in a
    string column whose field metadata says ``{"matrixdata": "json"}``; `rows_of` reads that back. A missing
    key and null are both null. `attrs` stand as JSON under ``matrixdata`` in the schema's metadata.

    With `structs`, an object is one struct column, not a dotted column for each of its members. The members are
    spelt as steps of a path (``place`` and its member ``room`` make the dotted name ``place.room``) and typed as the
    dotted columns would be. A struct has the members that the schema declares and those that occur beside them, so
    with a schema it is the same when empty. JSON text stays: arrays of objects, objects that never have a member, and
    columns in which the schema allows, or some records have, something else than objects; the last is noted in
    ``matrixdata``.

    Raises:
        MissingExtra: pyarrow is not installed.
        TypeError: `columns` is not a sequence of str.
        ValueError: a name in `columns` is no path or stands there twice, or `meta` has another length.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415  optional and slow to import
    except ImportError:
        raise MissingExtra("Arrow tables", "data") from None
    laid = assemble(values, schema=schema, columns=columns, meta=meta, structs=structs)
    made = [_field(column) for column in laid.columns]
    statement = json.dumps(stated(laid, attrs)).encode()
    return pa.Table.from_arrays(
        [array for _, array in made],
        schema=pa.schema([field for field, _ in made], metadata={METADATA_KEY: statement}),
    )


def to_array(column: Column) -> Any:  # noqa: ANN401  pyarrow is untyped
    """The Arrow array of one column."""
    return _field(column)[1]


def _field(column: Column) -> tuple[pa.Field, Any]:
    import pyarrow as pa  # noqa: PLC0415  optional and slow to import

    if column.type is Scalar.TIMESTAMP:
        return pa.field(column.name, pa.timestamp("us", "UTC")), column.cells
    if column.type is Scalar.STRUCT:
        return _struct(column)
    if column.type is not Scalar.JSON:
        kind = arrow_type(column.type)
        try:
            return pa.field(column.name, kind), pa.array(column.cells, kind)
        except UnicodeEncodeError:  # half a surrogate pair, as a raw event may hold: only JSON can escape it
            pass
    texts = pa.array([None if cell is None else _json(cell) for cell in column.cells], pa.string())
    return pa.field(column.name, pa.string(), metadata={METADATA_KEY: JSON_TEXT}), texts


def _struct(column: Column) -> tuple[pa.Field, Any]:
    import pyarrow as pa  # noqa: PLC0415  optional and slow to import

    fields, arrays = [], []
    for key, member in column.cells.members.items():
        made, array = _field(member)
        if member.name != key:
            made = made.with_metadata({**(made.metadata or {}), KEY: json.dumps(key).encode()})
        fields.append(made)
        arrays.append(array)
    absent = pa.array([not present for present in column.cells.present], pa.bool_())
    array = pa.StructArray.from_arrays(arrays, fields=fields, mask=absent)
    return pa.field(column.name, array.type), array


def arrow_type(kind: ColumnType) -> pa.DataType:
    """The Arrow type of a column type; JSON is a string, to be marked in the field's metadata."""
    import pyarrow as pa  # noqa: PLC0415  optional and slow to import

    if isinstance(kind, ListOf):
        return pa.list_(arrow_type(kind.item))
    return {
        Scalar.BOOLEAN: pa.bool_(),
        Scalar.INTEGER: pa.int64(),
        Scalar.UNSIGNED: pa.uint64(),
        Scalar.NUMBER: pa.float64(),
        Scalar.STRING: pa.string(),
        Scalar.TIMESTAMP: pa.timestamp("us", "UTC"),
        Scalar.JSON: pa.string(),
    }[kind]


def _json(cell: object) -> str:
    text = json.dumps(cell, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(cell, separators=(",", ":"))
    return text
