"""What a query in SQL gave, as rows of plain JSON and as a pandas DataFrame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matrixdata.errors import MissingExtra, SqlError
from matrixdata.frames.arrow_cells import cells, check_type
from matrixdata.model.problem import shown

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from matrixdata.model.json import JSON


def rows(table: pa.Table) -> list[dict[str, JSON]]:
    """One dict a row of plain JSON; NULL is None, times RFC 3339 text in UTC, decimals numbers, the rest text.

    Raises:
        SqlError: two columns have one name.
    """
    names = table.schema.names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SqlError(f"two columns are named {shown(twice)}; tell them apart with AS")
    columns = [_json_cells(table.column(number), name) for number, name in enumerate(names)]
    if not columns:
        return [{} for _ in range(table.num_rows)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _json_cells(column: pa.ChunkedArray, name: str) -> list[Any]:
    import pyarrow as pa  # noqa: PLC0415  optional, and slow to import
    from pyarrow import types  # noqa: PLC0415  as above

    kind = column.type
    if types.is_decimal(kind):
        kind = pa.float64()
        column = column.cast(kind)
    elif types.is_timestamp(kind) and kind.tz is None:
        kind = pa.timestamp(kind.unit, "UTC")
        column = column.cast(kind)
    try:
        check_type(kind, name)
    except (TypeError, ValueError):
        return [None if item is None else _plain(item) for item in column.to_pylist()]
    found = [item for chunk in column.chunks for item in cells(chunk, name)]
    return [_plain(item) for item in found] if types.is_floating(kind) or types.is_nested(kind) else found


def _plain(item: Any) -> JSON:  # noqa: ANN401  whatever Arrow gives: times, intervals, bytes, decimals inside lists
    if isinstance(item, dict):
        return {str(key): _plain(value) for key, value in item.items()}
    if isinstance(item, list):
        return [_plain(value) for value in item]
    if isinstance(item, float) and not math.isfinite(item):
        return str(item)  # computed, as by 0.0 / 0.0; JSON has no word for it
    if item is None or isinstance(item, (bool, int, float, str)):
        return item
    return item.hex() if isinstance(item, bytes) else str(item)


def pandas_frame(table: pa.Table, *, attrs: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The table as a DataFrame with the types of `frames.to_pandas`; decimals are float64.

    Args:
        table: the result.
        attrs: put into `frame.attrs["matrixdata"]`.

    Raises:
        MissingExtra: pandas is not installed.
    """
    try:
        import pandas as pd  # noqa: PLC0415  optional and slow to import
    except ImportError:
        raise MissingExtra("DataFrames", "data") from None
    import pyarrow as pa  # noqa: PLC0415  it made the table

    for number, made in enumerate(table.schema):
        if pa.types.is_decimal(made.type):
            column = table.column(number).cast(pa.float64())
            table = table.set_column(number, pa.field(made.name, pa.float64()), column)
    nullable = {
        pa.bool_(): pd.BooleanDtype(),
        **{getattr(pa, name.lower())(): getattr(pd, f"{name}Dtype")() for name in _INTEGERS},
    }
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    frame.attrs["matrixdata"] = dict(attrs or {})
    return frame


_INTEGERS = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
