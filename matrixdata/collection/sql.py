"""SQL over collections by name: what a statement reads is queried first, then DuckDB runs it in a sandbox."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from matrixdata.collection.awaited import Awaited, Fetched
from matrixdata.collection.display import sql_html, sql_text
from matrixdata.frames.polars import polars_frame
from matrixdata.model import Completeness
from matrixdata.replica.duck import interruptible, table_names
from matrixdata.replica.duck_columns import SqlTable, sql_table
from matrixdata.replica.duck_result import pandas_frame, rows

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from matrixdata.collection.core import AsyncCollection
    from matrixdata.collection.query_spec import OnIncomplete
    from matrixdata.model import JSON, Record


class AsyncSqlResult:
    """One SELECT over collections; it runs when its result is asked for, each time anew.

    Each collection is read as by `collection.query()`: at one moment, the outbox included. Two collections are read
    one after the other, so not at the same moment.
    """

    def __init__(
        self,
        sql: str,
        open_collection: Callable[[str], Awaitable[AsyncCollection]],
        *,
        check: Callable[[], None],
        on_incomplete: OnIncomplete = "warn",
        timeout: float = 10.0,
    ) -> None:
        """Check the statement.

        Args:
            sql: one SELECT; tables are collections by the names this user bound.
            open_collection: gives the collection of a name, or raises NotFound.
            check: raises when the client can no longer be used.
            on_incomplete: "warn", "raise" or "ignore" when rows of a collection are missing.
            timeout: seconds to wait, for all collections together, for what the server has now; 0 reads what is here.

        Raises:
            MissingExtra: DuckDB or pyarrow is not installed.
            SqlError: it is no single SELECT; the message says what is allowed.
        """
        if on_incomplete not in {"warn", "raise", "ignore"}:
            raise ValueError(f'on_incomplete={on_incomplete!r}; it takes "warn", "raise" or "ignore"')
        self._names = table_names(sql)
        self._sql = sql
        self._open = open_collection
        self._check = check
        self._on_incomplete: OnIncomplete = on_incomplete
        self._timeout = timeout
        self._completeness: Completeness | None = None
        self._last: pa.Schema | None = None
        self._rows: int | None = None

    def __repr__(self) -> str:
        return sql_text(self._names, self._rows, self._completeness)

    def _repr_html_(self) -> str:
        """The statement, and what its last result was and lacked, for notebooks; showing it runs nothing."""
        named = [(made.name, str(made.type)) for made in self._last or ()]
        return sql_html(self._sql, self._names, named, self._rows, self._completeness)

    # -- rows -------------------------------------------------------------------------------------------
    def __aiter__(self) -> AsyncIterator[dict[str, JSON]]:
        """The rows, as dicts."""
        return Fetched(self.records)

    async def records(self) -> list[dict[str, JSON]]:
        """All rows as dicts of plain JSON by column; NULL is None, times are RFC 3339 text in UTC.

        Raises:
            SqlError: two columns have one name; give them names with AS.
        """
        table = await self.to_arrow()
        return await anyio.to_thread.run_sync(rows, table)

    async def count(self) -> int:
        """How many rows the result has."""
        return int((await self.to_arrow()).num_rows)

    async def columns(self) -> list[str]:
        """The names of the result's columns: of the last result, or of one now if there was none."""
        if self._last is None:
            await self.to_arrow()
        return [] if self._last is None else list(self._last.names)

    # -- frames -----------------------------------------------------------------------------------------
    async def to_arrow(self) -> pa.Table:
        """The result as a pyarrow Table, with the types that DuckDB gives.

        Raises:
            NotFound: there is no collection of a name it reads.
            SqlError: DuckDB refuses it, or it fails on some row.
        """
        tables = await self._tables()
        found = await interruptible(lambda sandbox: sandbox.select(self._sql, tables))
        self._last, self._rows = found.schema, found.num_rows
        return found

    async def to_pandas(self) -> pd.DataFrame:
        """The result as a DataFrame; `frame.attrs["matrixdata"]` holds the completeness (extra: data)."""
        table = await self.to_arrow()
        attrs = {"collections": list(self._names), **(self._completeness or Completeness()).as_dict()}
        return await anyio.to_thread.run_sync(functools.partial(pandas_frame, table, attrs=attrs))

    async def to_polars(self) -> pl.DataFrame:
        """The result as a polars DataFrame (extra: polars)."""
        table = await self.to_arrow()
        return await anyio.to_thread.run_sync(polars_frame, table)

    # -- completeness -----------------------------------------------------------------------------------
    @property
    def completeness(self) -> Awaitable[Completeness]:
        """To await: what the collections read lacked, added up; they are asked if none was read yet."""
        return Awaited(self.measured)

    async def measured(self) -> Completeness:
        """What `completeness` gives when awaited."""
        self._check()
        if self._completeness is None:
            end = anyio.current_time() + self._timeout
            found = []
            for name in self._names:
                query = (await self._open(name)).query(timeout=self._left(end), on_incomplete="ignore")
                found.append(await query.completeness)
            self._completeness = merged(found)
        return self._completeness

    # -- reading ----------------------------------------------------------------------------------------
    async def _tables(self) -> dict[str, SqlTable]:
        self._check()
        end = anyio.current_time() + self._timeout
        # All are opened before any is read: a name that is wrong need not wait for the others' rows.
        opened = {name: await self._open(name) for name in self._names}
        tables, found = {}, []
        for name, collection in opened.items():
            query = collection.query(timeout=self._left(end), on_incomplete=self._on_incomplete)
            records = await query.records()
            found.append(await query.completeness)
            make = functools.partial(_table, records, collection.schema)
            tables[name] = await anyio.to_thread.run_sync(make)
        self._completeness = merged(found)
        return tables

    def _left(self, end: float) -> float:
        # Never down to 0, which would mean that stale rows are fine.
        return max(0.001, end - anyio.current_time()) if self._timeout > 0 else 0


def merged(parts: list[Completeness]) -> Completeness:
    """What several results lack together."""
    return Completeness(
        gaps=sum(part.gaps for part in parts),
        undecryptable=sum(part.undecryptable for part in parts),
        invalid=sum(part.invalid for part in parts),
        pending=sum(part.pending for part in parts),
        fresh=all(part.fresh for part in parts),
        forgotten=sum(part.forgotten for part in parts),
        left=next((part.left for part in parts if part.left is not None), None),
        gap_problem=next((part.gap_problem for part in parts if part.gap_problem is not None), None),
        causes=dict(sum((Counter(part.causes) for part in parts), Counter())),
    )


def sql_meta(records: list[Record]) -> dict[str, list[Any]]:
    """The columns that SQL has beside a record's own keys."""
    return {
        "_event_id": [record.event_id for record in records],
        "_sender": [record.sender for record in records],
        "_time": [record.time for record in records],
        "_uid": [record.uid for record in records],
    }


async def records_where(records: list[Record], where: str, *, schema: object) -> list[Record]:
    """The records for which an SQL expression is true, in the order they had."""
    if not records:  # nothing says which columns there are; the expression itself was checked before
        return []
    kept = await interruptible(lambda sandbox: sandbox.rows_where(_numbered(records, schema), where))
    return [records[row] for row in kept]


def _numbered(records: list[Record], schema: object) -> SqlTable:
    values = [record.value for record in records]
    return sql_table(values, schema=schema, meta={**sql_meta(records), "_row": range(len(records))})


def _table(records: list[Record], schema: object) -> SqlTable:
    return sql_table([record.value for record in records], schema=schema, meta=sql_meta(records))
