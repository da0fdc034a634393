"""Rows to frames and back: pandas, Arrow, Parquet. Each library is imported when first used."""

from matrixdata.frames.arrow_table import to_arrow
from matrixdata.frames.batches import batches
from matrixdata.frames.csv import to_csv
from matrixdata.frames.flatten import unflatten
from matrixdata.frames.jsonl import to_jsonl
from matrixdata.frames.pandas_frame import to_pandas
from matrixdata.frames.parquet import to_parquet
from matrixdata.frames.polars import to_polars
from matrixdata.frames.read import rows_of
from matrixdata.frames.schema import schema_columns
from matrixdata.frames.types import ColumnType, ListOf, Scalar

__all__ = [
    "ColumnType",
    "ListOf",
    "Scalar",
    "batches",
    "rows_of",
    "schema_columns",
    "to_arrow",
    "to_csv",
    "to_jsonl",
    "to_pandas",
    "to_parquet",
    "to_polars",
    "unflatten",
]
