"""The blocking faces of what reads and waits: receipts, queries, tables, the outbox.

One line a method; a test compares every signature with the async one's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

from matrixdata.collection import (
    AsyncOutbox,
    AsyncQuery,
    AsyncTable,
    HistoryEvent,
    Member,
    OutboxEntry,
    StateEvent,
)
from matrixdata.model import JSON, Completeness, Record

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from matrixdata.connect.portal import Portal
    from matrixdata.connect.progress import QueryBar
    from matrixdata.publishing import AsyncReceipt, Milestone

T = TypeVar("T", HistoryEvent, StateEvent, Member)
P = ParamSpec("P")
R = TypeVar("R")


class Receipt:
    """Proof that a record was accepted; see AsyncReceipt."""

    def __init__(self, portal: Portal, receipt: AsyncReceipt) -> None:
        self._portal = portal
        self._receipt = receipt

    def __repr__(self) -> str:
        return repr(self._receipt)

    def _repr_html_(self) -> str:
        """What became of the record so far, for notebooks."""
        return self._receipt._repr_html_()

    @property
    def uid(self) -> str:
        """The record's id within this sender's records."""
        return self._receipt.uid

    @property
    def state(self) -> str:
        """Where the record is: "queued", "sent", "synced", "stuck" or "cancelled"."""
        return self._receipt.state

    @property
    def event_id(self) -> str | None:
        """Matrix's event id, once acknowledged."""
        return self._receipt.event_id

    @property
    def reason(self) -> str | None:
        """What keeps the record from being sent: an errcode or one of our words; None when nothing does."""
        return self._receipt.reason

    @property
    def uncertain(self) -> bool:
        """Whether it was sent without an answer, so that it may be on the server."""
        return self._receipt.uncertain

    def wait(self, until: Milestone = "sent", *, timeout: float | None = None) -> str:
        """Wait until the record got that far, or was refused, or `timeout` seconds passed."""
        return self._portal.call(self._receipt.wait, until, timeout=timeout)


class Query:
    """A query that runs when its result is asked for, each time anew; see AsyncQuery."""

    def __init__(self, portal: Portal, query: AsyncQuery, bar: QueryBar) -> None:
        self._portal = portal
        self._query = query
        self._bar = bar

    def _run(self, work: Callable[P, Awaitable[R]], *arguments: P.args, **options: P.kwargs) -> R:
        with self._bar:
            return self._portal.call(work, *arguments, **options)

    def __repr__(self) -> str:
        return repr(self._query)

    def _repr_html_(self) -> str:
        """What is asked and what the last result lacked, for notebooks; showing it runs nothing."""
        return self._query._repr_html_()

    def __iter__(self) -> Iterator[Record]:
        """The records, as Record objects."""
        return iter(self.records())

    @property
    def completeness(self) -> Completeness:
        """What the last result lacked; what a result would lack, if none was asked for yet."""
        return self._run(self._query.measured)

    def records(self) -> list[Record]:
        """All records of the result."""
        return self._run(self._query.records)

    def values(self) -> list[JSON]:
        """The records' values: plain JSON."""
        return self._run(self._query.values)

    def count(self) -> int:
        """How many records the result has."""
        return self._run(self._query.count)

    def to_pandas(self, *, meta: bool = False, structs: bool = False) -> pd.DataFrame:
        """A DataFrame, one row a record; see AsyncQuery.to_pandas."""
        return self._run(self._query.to_pandas, meta=meta, structs=structs)

    def to_arrow(self, *, meta: bool = False, structs: bool = False) -> pa.Table:
        """A pyarrow Table with the types that the schema states (extra: data)."""
        return self._run(self._query.to_arrow, meta=meta, structs=structs)

    def to_parquet(self, path: str | os.PathLike[str], *, meta: bool = False, structs: bool = False) -> Path:
        """Write a Parquet file and return its path; the file appears complete or not at all (extra: data)."""
        return self._run(self._query.to_parquet, path, meta=meta, structs=structs)

    def to_polars(self, *, meta: bool = False, structs: bool = False) -> pl.DataFrame:
        """A polars DataFrame with the columns and types of `to_arrow` (extra: polars)."""
        return self._run(self._query.to_polars, meta=meta, structs=structs)

    def to_csv(self, path: str | os.PathLike[str], *, meta: bool = False, safe: bool = True) -> Path:
        """Write a CSV file, formulas made inert unless safe=False, and return its path."""
        return self._run(self._query.to_csv, path, meta=meta, safe=safe)

    def to_jsonl(self, path: str | os.PathLike[str]) -> Path:
        """Write the values as JSON Lines, one record a line, numbers exact; return the path."""
        return self._run(self._query.to_jsonl, path)

    def batches(
        self, size: int = 65_536, *, meta: bool = False, structs: bool = False
    ) -> list[pa.RecordBatch]:
        """The result as Arrow record batches of at most `size` rows (extra: data)."""
        return self._run(self._query.batches, size, meta=meta, structs=structs)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The result for anything that reads Arrow: polars, DuckDB, pyarrow (Arrow PyCapsule interface)."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)


class Table(Generic[T]):
    """Rows of fixed columns, fetched when asked for; see AsyncTable."""

    def __init__(self, portal: Portal, table: AsyncTable[T]) -> None:
        self._portal = portal
        self._table: AsyncTable[T] = table

    def __repr__(self) -> str:
        return repr(self._table)

    def _repr_html_(self) -> str:
        """Its columns, for notebooks; showing it fetches nothing."""
        return self._table._repr_html_()

    def __iter__(self) -> Iterator[T]:
        """The rows."""
        return iter(self.records())

    def records(self) -> list[T]:
        """All rows."""
        return self._portal.call(self._table.records)

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame with one column a field, the same dtypes when empty; times are datetime64[us, UTC]."""
        return self._portal.call(self._table.to_pandas)


class Outbox:
    """Looks at the outbox and mends it; see AsyncOutbox."""

    def __init__(self, portal: Portal, outbox: AsyncOutbox) -> None:
        self._portal = portal
        self._outbox = outbox

    def __repr__(self) -> str:
        return repr(self._outbox)

    def list(self) -> list[OutboxEntry]:
        """Everything in the outbox, in the order of acceptance."""
        return self._portal.call(self._outbox.list)

    def retry(self, uid: str) -> None:
        """Send a stuck record again, once what was wrong has been mended."""
        self._portal.call(self._outbox.retry, uid)

    def retry_all(self) -> int:
        """Send every stuck record again; how many there were."""
        return self._portal.call(self._outbox.retry_all)

    def cancel(self, uid: str) -> None:
        """Drop a record for good that is stuck, or queued and surely not on the server."""
        self._portal.call(self._outbox.cancel, uid)
