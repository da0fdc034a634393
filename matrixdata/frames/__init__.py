"""Rows to frames and back: pandas, Arrow, Parquet. Each library is imported when first used."""

from matrixdata.frames.arrow_table import to_arrow
from matrixdata.frames.flatten import unflatten
from matrixdata.frames.pandas_frame import to_pandas
from matrixdata.frames.parquet import to_parquet
from matrixdata.frames.read import rows_of
from matrixdata.frames.schema import schema_columns
from matrixdata.frames.types import ColumnType, ListOf, Scalar

__all__ = [
    "ColumnType",
    "ListOf",
    "Scalar",
    "rows_of",
    "schema_columns",
    "to_arrow",
    "to_pandas",
    "to_parquet",
    "unflatten",
]
