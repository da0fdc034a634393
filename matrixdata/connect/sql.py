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

    def to_arrow(self) -> pa.Table:
        """The result as a pyarrow Table, with the types that DuckDB gives."""
        return self._portal.call(self._result.to_arrow)

    def to_pandas(self) -> pd.DataFrame:
        """The result as a DataFrame; `frame.attrs["matrixdata"]` holds the completeness (extra: data)."""
        return self._portal.call(self._result.to_pandas)

    def to_polars(self) -> pl.DataFrame:
        """The result as a polars DataFrame (extra: polars)."""
        return self._portal.call(self._result.to_polars)
