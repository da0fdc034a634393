"""Record values to a polars DataFrame, polars being imported when called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matrixdata.errors import MissingExtra
from matrixdata.frames.arrow_table import to_arrow

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from matrixdata.model.json import JSON


def to_polars(
    values: Sequence[JSON],
    *,
    schema: object = None,
    columns: Sequence[str] | None = None,
    meta: Mapping[str, Sequence[Any]] | None = None,
    attrs: Mapping[str, Any] | None = None,
    structs: bool = False,
) -> pl.DataFrame:
    """A polars DataFrame of one row a record, with the columns, types and arguments of `to_arrow`.

    Times are Datetime[us, UTC], arrays of one type List, what has no single type is JSON text (String; for
    `str.json_decode`). polars has no place for `attrs`, so they are not in the frame.

    Raises:
        MissingExtra: polars or pyarrow is not installed.
        TypeError: `columns` is not a sequence of str.
        ValueError: a name in `columns` is no path or stands there twice, or `meta` has another length.
    """
    return polars_frame(
        to_arrow(values, schema=schema, columns=columns, meta=meta, attrs=attrs, structs=structs)
    )


def polars_frame(table: pa.Table) -> pl.DataFrame:
    """A table as a polars DataFrame.

    Raises:
        MissingExtra: polars is not installed.
    """
    try:
        import polars as pl  # noqa: PLC0415  optional and slow to import
    except ImportError:
        raise MissingExtra("polars frames", "polars") from None
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101  a table never gives a Series
    frame.columns = table.column_names  # polars gives a name of its own to a column without one
    return frame
