"""Record values to a Parquet file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matrixdata.errors import MissingExtra
from matrixdata.frames.arrow_table import METADATA_KEY, to_arrow
from matrixdata.frames.atomic import written

if TYPE_CHECKING:
    import pyarrow as pa

    from matrixdata.model.json import JSON


def to_parquet(
    values: Sequence[JSON],
    path: str | os.PathLike[str],
    *,
    schema: object = None,
    columns: Sequence[str] | None = None,
    meta: Mapping[str, Sequence[Any]] | None = None,
    attrs: Mapping[str, Any] | None = None,
    structs: bool = False,
) -> Path:
    """Write a Parquet file (zstd) of one row a record, with the columns and types of `to_arrow`.

    The file appears complete or not at all, replaces what was there, and is readable by its owner only. Its
    metadata holds `attrs` as JSON under ``matrixdata``; `pandas.read_parquet` gives them back in
    ``frame.attrs["matrixdata"]`` and reads integers and booleans with missing values as such, unrounded.

    Returns:
        The path written.

    Raises:
        MissingExtra: pyarrow is not installed.
        OSError: the directory is missing or cannot be written; nothing was replaced.
        TypeError: `columns` is not a sequence of str.
        ValueError: a name in `columns` is no path or stands there twice, or `meta` has another length.
    """
    try:
        import pyarrow.parquet as pq  # noqa: PLC0415  optional and slow to import
    except ImportError:
        raise MissingExtra("Parquet files", "data") from None
    table = _for_pandas(
        to_arrow(values, schema=schema, columns=columns, meta=meta, attrs=attrs, structs=structs)
    )
    with written(path) as file:
        pq.write_table(table, file, compression="zstd")
    return Path(path)


def _for_pandas(table: pa.Table) -> pa.Table:
    """Add the metadata by which pandas picks its nullable types, and its place for attrs."""
    import pyarrow as pa  # noqa: PLC0415  optional; here it is installed

    nullable = {
        pa.int64(): ("int64", "Int64"),
        pa.uint64(): ("uint64", "UInt64"),
        pa.bool_(): ("bool", "boolean"),
    }
    described = [
        {
            "name": field.name,
            "field_name": field.name,
            "pandas_type": pandas,
            "numpy_type": numpy,
            "metadata": None,
        }
        for field in table.schema
        for pandas, numpy in [nullable.get(field.type, (None, None))]
        if pandas
    ]
    metadata = dict(table.schema.metadata)
    metadata[b"pandas"] = json.dumps(
        {"index_columns": [], "column_indexes": [], "columns": described, "pandas_version": "2.2.0"}
    ).encode()
    metadata[b"PANDAS_ATTRS"] = json.dumps({"matrixdata": json.loads(metadata[METADATA_KEY])}).encode()
    return table.replace_schema_metadata(metadata)
