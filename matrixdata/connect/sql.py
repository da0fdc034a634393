"""The blocking face of a query in SQL. One line a method; see collection.sql."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from matrixdata.collection.sql import AsyncSqlResult
from matrixdata.model import JSON, Completeness

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from matrixdata.connect.portal import Portal


class SqlResult:
    """One SELECT over collections; it runs when its result is asked for, each time anew; see AsyncSqlResult."""

    def __init__(self, portal: Portal, result: AsyncSqlResult) -> None:
        self._portal = portal
        self._result = result

    def __repr__(self) -> str:
        return repr(self._result)

    def _repr_html_(self) -> str:
        """The statement, and what its last result was and lacked, for notebooks; showing it runs nothing."""
        return self._result._repr_html_()

    def __iter__(self) -> Iterator[dict[str, JSON]]:
        """The rows, as dicts."""
        return iter(self.records())

    @property
    def completeness(self) -> Completeness:
        """What the collections read lacked, added up; they are asked if none was read yet."""
        return self._portal.call(self._result.measured)

    def records(self) -> list[dict[str, JSON]]:
        """All rows as dicts of plain JSON by column; NULL is None, times are RFC 3339 text in UTC."""
        return self._portal.call(self._result.records)

    def count(self) -> int:
        """How many rows the result has."""
        return self._portal.call(self._result.count)

    def columns(self) -> list[str]:
        """The names of the result's columns: of the last result, or of one now if there was none."""
        return self._portal.call(self._result.columns)

    def to_arrow(self) -> pa.Table:
        """The result as a pyarrow Table, with the types that DuckDB gives."""
        return self._portal.call(self._result.to_arrow)

    def to_pandas(self) -> pd.DataFrame:
        """The result as a DataFrame; `frame.attrs["matrixdata"]` holds the completeness (extra: data)."""
        return self._portal.call(self._result.to_pandas)

    def to_polars(self) -> pl.DataFrame:
        """The result as a polars DataFrame (extra: polars)."""
        return self._portal.call(self._result.to_polars)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The result for anything that reads Arrow: polars, DuckDB, pyarrow (Arrow PyCapsule interface)."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)
