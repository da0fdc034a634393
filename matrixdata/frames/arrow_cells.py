"""Arrow data to rows of plain Python values. Imports pyarrow when called; null is an absent key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from matrixdata.frames.arrow_table import JSON_TEXT, KEY, METADATA_KEY

if TYPE_CHECKING:
    import pyarrow as pa

_ADVICE = {
    "decimal": "cast it to float64, or to text to keep every digit",
    "duration": "cast it to a number, and say of which unit in the column's name",
    "time": "cast it to text",
    "binary": "encode it as text, for example in base64",
    "map": "records are objects: cast it to a struct, or to JSON text",
}


def stream_rows(data: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  whatever has __arrow_c_stream__
    """Rows of anything with the Arrow stream interface; its columns are checked before the first row.

    Raises:
        TypeError: a column holds what JSON cannot.
        ValueError: timestamps without a time zone or outside the years 1 to 9999, or a column name twice.
    """
    import pyarrow as pa  # noqa: PLC0415  optional and slow to import

    reader = pa.RecordBatchReader.from_stream(data)
    check_names(reader.schema.names)
    for field in reader.schema:
        check_type(field.type, field.name)
    return _rows_of_batches(reader)


def _rows_of_batches(reader: pa.RecordBatchReader) -> Iterator[dict[str, Any]]:
    for batch in reader:
        columns = [
            _read_json(cells(array, field.name), field)
            for field, array in zip(batch.schema, batch.columns, strict=True)
        ]
        yield from rows_of_columns(batch.schema.names, columns, batch.num_rows)


def _read_json(column: list[Any], field: pa.Field) -> list[Any]:
    if (field.metadata or {}).get(METADATA_KEY) != JSON_TEXT:
        return column
    return [None if text is None else json.loads(text) for text in column]


def rows_of_columns(names: list[str], columns: list[list[Any]], rows: int) -> Iterator[dict[str, Any]]:
    """One dict a row, without the keys whose cell is None."""
    if not columns:
        yield from ({} for _ in range(rows))
    for row in zip(*columns, strict=True):
        yield {name: cell for name, cell in zip(names, row, strict=True) if cell is not None}


def check_names(names: list[str]) -> None:
    """Raise ValueError if a name stands there twice: a dict would keep only the last."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two columns are named {twice[0]!r}; a record has each key once")


def check_type(kind: pa.DataType, name: str) -> None:
    """Raise if cells of an Arrow type have no JSON form."""
    from pyarrow import types  # noqa: PLC0415  optional and slow to import

    if types.is_timestamp(kind):
        if kind.tz is None:
            raise ValueError(
                f"the column {name!r} has times without a time zone; say which, for example in pandas "
                f'frame[{name!r}].dt.tz_localize("UTC")'
            )
    elif types.is_struct(kind):
        for field in kind.fields:
            check_type(field.type, f"{name}.{field.name}")
    elif _is_list(kind) or types.is_dictionary(kind):
        check_type(kind.value_type, name)
    elif not (_is_plain(kind) or types.is_date(kind)):
        advice = next((text for word, text in _ADVICE.items() if word in str(kind)), "cast it to text")
        raise TypeError(f"the column {name!r} is of type {kind}, which JSON has not; {advice}")


def _is_list(kind: pa.DataType) -> bool:
    from pyarrow import types  # noqa: PLC0415  optional and slow to import

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_plain(kind: pa.DataType) -> bool:
    from pyarrow import types  # noqa: PLC0415  optional and slow to import

    return bool(
        types.is_null(kind)
        or types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
    )


def cells(array: pa.Array, name: str) -> list[Any]:
    """The values of an array whose type was checked, as JSON has them; None for null."""
    import pyarrow as pa  # noqa: PLC0415  optional and slow to import
    from pyarrow import types  # noqa: PLC0415  as above

    kind = array.type
    if types.is_timestamp(kind):
        return _times(array, name)
    if types.is_date(kind):
        return list(array.cast(pa.date32()).cast(pa.string()).to_pylist())
    if types.is_dictionary(kind):
        values = cells(array.dictionary, name)
        return [None if at is None else values[at] for at in array.indices.to_pylist()]
    if types.is_struct(kind):
        return _objects(array, name)
    if _is_list(kind):
        return _lists(array, name)
    return list(array.to_pylist())


def _times(array: pa.Array, name: str) -> list[Any]:
    """RFC 3339 text in UTC with as many digits as the instant needs."""
    import pyarrow as pa  # noqa: PLC0415  optional and slow to import
    import pyarrow.compute as pc  # noqa: PLC0415  as above

    utc = array.cast(pa.timestamp(array.type.unit, "UTC"))
    texts = pc.strftime(utc, "%Y-%m-%dT%H:%M:%SZ")
    if pc.any(pc.invert(pc.match_substring_regex(texts, "^[0-9]{4}-"))).as_py():
        raise ValueError(
            f"the column {name!r} has times outside the years 0 to 9999, which RFC 3339 cannot say"
        )
    texts = pc.replace_substring_regex(texts, r"(\.[0-9]*[1-9])0+Z$", r"\1Z")
    return list(pc.replace_substring_regex(texts, r"\.0+Z$", "Z").to_pylist())


def _objects(array: pa.Array, name: str) -> list[Any]:
    fields = list(array.type.fields)
    names = [_key(field) for field in fields]
    check_names(names)
    members = [
        _read_json(cells(column, f"{name}.{field.name}"), field)
        for field, column in zip(fields, array.flatten(), strict=True)
    ]
    rows = list(rows_of_columns(names, members, len(array)))
    return [row if there else None for row, there in zip(rows, array.is_valid().to_pylist(), strict=True)]


def _key(field: pa.Field) -> str:
    """The key that a struct's member stands for; in structs of ours its name may be another spelling."""
    spelt = (field.metadata or {}).get(KEY)
    return field.name if spelt is None else str(json.loads(spelt))


def _lists(array: pa.Array, name: str) -> list[Any]:
    import pyarrow.compute as pc  # noqa: PLC0415  optional and slow to import

    items = iter(cells(array.flatten(), name))
    return [
        None if length is None else [next(items) for _ in range(length)]
        for length in pc.list_value_length(array).to_pylist()
    ]
