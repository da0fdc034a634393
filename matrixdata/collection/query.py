"""Queries: what to read, from a replica at one moment, the outbox included; and how to hand it over."""

from __future__ import annotations

import warnings
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import msgspec

from matrixdata.collection.awaited import Awaited, Fetched
from matrixdata.collection.display import query_html, query_text
from matrixdata.collection.query_spec import QuerySpec
from matrixdata.errors import Incomplete, IncompleteWarning
from matrixdata.model import Completeness, Position, Record
from matrixdata.model.expression import matches
from matrixdata.model.member import split_key
from matrixdata.model.ordering import sort_key
from matrixdata.receiving.records import microseconds, moment, pending_records
from matrixdata.replica.filter_sql import compile_sqlite

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from matrixdata.collection.ports import Services
    from matrixdata.model import JSON
    from matrixdata.receiving import SyncProgress


class AsyncQuery:
    """A query that runs when its result is asked for, each time anew.

    It reads the replica at one moment together with the outbox: one row per (sender, uid). Before that it
    waits, for at most `timeout` seconds, until the replica holds what the server has now; without a server it
    reads what is here, and `completeness` says so.
    """

    def __init__(
        self,
        services: Services,
        room_id: str,
        name: str,
        spec: QuerySpec,
        *,
        progress: Callable[[SyncProgress], None] | None = None,
    ) -> None:
        self._services = services
        self._room_id = room_id
        self._name = name
        self._spec = spec
        self._progress = progress
        self._completeness: Completeness | None = None

    def __repr__(self) -> str:
        return query_text(self._name, self._spec.asked, self._completeness)

    def _repr_html_(self) -> str:
        """What is asked and what the last result lacked, for notebooks; showing it runs nothing."""
        return query_html(self._name, self._spec.asked, self._completeness)

    # -- rows -------------------------------------------------------------------------------------------
    def __aiter__(self) -> AsyncIterator[Record]:
        """The records, as Record objects."""
        return Fetched(self.records)

    async def records(self) -> list[Record]:
        """All records of the result."""
        async with aclosing(self._records()) as records:
            return [record async for record in records]

    async def values(self) -> list[JSON]:
        """The records' values: plain JSON."""
        return [record.value for record in await self.records()]

    async def count(self) -> int:
        """How many records the result has."""
        return len(await self.records())

    # -- frames and files -------------------------------------------------------------------------------
    async def to_pandas(self, *, meta: bool = False, structs: bool = False) -> pd.DataFrame:
        """A DataFrame, one row a record; nested objects as dotted columns, dtypes from the schema if there is one.

        Args:
            meta: add the columns event_id, sender, time (UTC) and row_state.
            structs: nested objects as struct columns instead (dtype `struct<…>[pyarrow]`): ``frame["place"].struct``;
                so for all frames. What cannot be a struct, as objects beside text, is as without; see docs/query.md.

        Returns:
            The frame; `frame.attrs["matrixdata"]` holds the completeness.

        Raises:
            MissingExtra: pandas is not installed (extra: data).
        """
        frame: pd.DataFrame = await self._framed("to_pandas", meta=meta, structs=structs)
        return frame

    async def to_arrow(self, *, meta: bool = False, structs: bool = False) -> pa.Table:
        """A pyarrow Table with the types that the schema states (extra: data)."""
        return await self._framed("to_arrow", meta=meta, structs=structs)

    async def to_parquet(
        self, path: str | os.PathLike[str], *, meta: bool = False, structs: bool = False
    ) -> Path:
        """Write a Parquet file and return its path; the file appears complete or not at all (extra: data)."""
        written: Path = await self._framed("to_parquet", path, meta=meta, structs=structs)
        return written

    async def to_polars(self, *, meta: bool = False, structs: bool = False) -> pl.DataFrame:
        """A polars DataFrame with the columns and types of `to_arrow` (extra: polars)."""
        frame: pl.DataFrame = await self._framed("to_polars", meta=meta, structs=structs)
        return frame

    async def to_csv(self, path: str | os.PathLike[str], *, meta: bool = False, safe: bool = True) -> Path:
        """Write a CSV file and return its path.

        Args:
            path: where to; the file appears complete or not at all.
            meta: as in `to_pandas`.
            safe: make text that a spreadsheet would run as a formula inert, by an apostrophe before it.
        """
        written: Path = await self._framed("to_csv", path, meta=meta, safe=safe)
        return written

    async def to_jsonl(self, path: str | os.PathLike[str]) -> Path:
        """Write the values as JSON Lines, one record a line, numbers exact; return the path."""
        from matrixdata.frames import to_jsonl  # noqa: PLC0415  those who only publish are spared the import

        values = await self.values()
        return await anyio.to_thread.run_sync(to_jsonl, values, path)

    async def batches(
        self, size: int = 65_536, *, meta: bool = False, structs: bool = False
    ) -> list[pa.RecordBatch]:
        """The result as Arrow record batches of at most `size` rows (extra: data)."""
        return list(await self._framed("batches", size, meta=meta, structs=structs))

    async def _framed(self, builder: str, *arguments: Any, meta: bool, **options: Any) -> Any:  # noqa: ANN401  what the builder makes
        from matrixdata import frames  # noqa: PLC0415  those who only publish are spared the import

        build = getattr(frames, builder)
        records = await self.records()
        rules = await self._services.intake.rules(self._room_id)
        schema = msgspec.json.decode(rules.schema.text) if rules.schema else None
        attrs: dict[str, object] = {"collection": self._name, "room_id": self._room_id}
        attrs |= (self._completeness or Completeness()).as_dict()

        beside = _meta(records) if meta else {}
        columns = self._spec.columns
        if columns is not None:
            columns = (*columns, *(name for name in beside if name not in columns))

        def run() -> Any:  # noqa: ANN401  whatever `build` makes
            values = [record.value for record in records]
            return build(
                values,
                *arguments,
                schema=schema,
                columns=columns,
                meta=beside,
                attrs=attrs,
                **options,
            )

        return await anyio.to_thread.run_sync(run)

    # -- completeness -----------------------------------------------------------------------------------
    @property
    def completeness(self) -> Awaitable[Completeness]:
        """To await: what the last result lacked, or what a result would lack if none was asked for yet."""
        return Awaited(self.measured)

    async def measured(self) -> Completeness:
        """What `completeness` gives when awaited."""
        self._services.check()
        if self._completeness is None:
            await self._measure(fresh=await self._freshen(), pending=len(await self._waiting()))
        return self._completeness or Completeness()

    async def _freshen(self) -> bool:
        if self._spec.timeout <= 0:
            return False  # nobody asked the server
        return await self._services.freshness.ready(
            self._room_id, timeout=self._spec.timeout, progress=self._progress
        )

    async def _measure(self, *, fresh: bool, pending: int = 0) -> None:
        counts = await self._services.rooms.counts(self._room_id)
        standing = await self._services.standing.of(self._room_id)
        since = moment(standing.since * 1000).isoformat() if standing.since is not None else ""
        causes = await self._services.unread.causes(self._room_id) if counts["undecryptable"] else {}
        self._completeness = Completeness(
            **counts,
            pending=pending,
            fresh=fresh,
            left=since if standing.left else None,
            gap_problem=await self._services.rooms.gap_trouble(self._room_id) if counts["gaps"] else None,
            causes=causes,
        )

    def _report(self) -> None:
        found = self._completeness
        if found is None or found.complete or self._spec.on_incomplete == "ignore":
            return
        if self._spec.timeout <= 0 and not found.gaps and not found.undecryptable and found.left is None:
            return  # not to ask the server was the caller's wish; the result says so all the same
        message = f"the result of {self._name!r} is incomplete: {found}"
        if self._spec.on_incomplete == "raise":
            raise Incomplete(message, found)
        # Not warn(): it shows a text once for each line of code, which here is always this one, and so would keep
        # silent about the second incomplete result.
        warnings.warn_explicit(
            message, IncompleteWarning, f"<query of {self._name!r}>", 1, module="matrixdata"
        )

    # -- reading ----------------------------------------------------------------------------------------
    async def _records(self) -> AsyncGenerator[Record]:
        self._services.check()
        fresh = await self._freshen()
        # The outbox first: a write that arrives meanwhile is then met twice and counted once, not missed.
        waiting = await self._waiting()
        await self._measure(fresh=fresh, pending=len(waiting))
        self._report()
        if isinstance(self._spec.order, tuple) or self._spec.sql is not None:
            for record in await self._gathered(waiting):
                yield record
            return
        left = self._spec.limit
        async with aclosing(self._merged(waiting)) as merged:
            async for record in merged:
                if left is not None:
                    if left == 0:
                        return
                    left -= 1
                yield record

    async def _gathered(self, waiting: dict[str, Record]) -> list[Record]:
        """The result where all of it is needed to say what comes first, or what SQL says of each row."""
        found = [record async for record in self._merged(waiting)]
        if self._spec.sql is not None:
            found = await self._where_sql(found, self._spec.sql)
        if isinstance(self._spec.order, tuple):
            path = self._spec.order
            found.sort(key=lambda record: sort_key(record.value, path), reverse=self._spec.descending)
        return found[: self._spec.limit]

    async def _where_sql(self, records: list[Record], where: str) -> list[Record]:
        from matrixdata.collection.sql import records_where  # noqa: PLC0415  only SQL needs DuckDB

        rules = await self._services.intake.rules(self._room_id)
        return await records_where(records, where, schema=rules.schema.schema if rules.schema else None)

    async def _waiting(self) -> dict[str, Record]:
        """Our writes not seen to arrive, by uid, in the order of acceptance."""
        if self._spec.span.as_of is not None:
            return {}
        items = await self._services.outbox.entries(self._room_id, states=("queued", "sent"))
        rules = await self._services.intake.rules(self._room_id)
        span, user_id = self._spec.span, self._services.user_id
        found = (record for item in items for record in pending_records(item, user_id, rules))
        return {
            record.uid: record
            for record in found
            if (span.since is None or microseconds(record.time) >= span.since)
            and (span.until is None or microseconds(record.time) < span.until)
        }

    async def _merged(self, waiting: dict[str, Record]) -> AsyncGenerator[Record]:
        """Rows of the replica, then of the outbox (by time: each where its time puts it), filtered."""
        user, replica, keep = self._services.user_id, self._services.replica, self._keep
        # A row of ours that SQLite left out could not show that its twin in the outbox has arrived.
        narrowed = compile_sqlite(self._spec.where) if self._spec.where is not None and not waiting else None
        by_time, newest_first = self._spec.span.by_time, self._spec.span.newest_first
        late = sorted(waiting.values(), key=lambda r: r.time, reverse=newest_first) if by_time else []
        shown: set[str] = set()
        scan = self._services.rooms.scan(self._room_id)
        async with aclosing(scan.records(self._spec.span, narrowed)) as pages:
            async for page in pages:
                for event_id, sender, uid, value, time, change, edited, _ in page:
                    if sender == user:
                        waiting.pop(uid, None)
                        if uid in shown:
                            continue
                    event, index = split_key(event_id)
                    record = Record(
                        msgspec.json.decode(value),
                        event,
                        sender,
                        moment(time),
                        Position(change, replica),
                        uid,
                        edited=bool(edited),
                        index=index,
                    )
                    while late and (
                        late[0].time > record.time if newest_first else late[0].time < record.time
                    ):
                        early = late.pop(0)
                        if early.uid in waiting and keep(early):
                            shown.add(early.uid)
                            yield early
                    if keep(record):
                        yield record
        for record in late if by_time else list(waiting.values()):
            if record.uid in waiting and record.uid not in shown and keep(record):
                yield record

    def _keep(self, record: Record) -> bool:
        return self._spec.where is None or matches(self._spec.where, record.value)


def _meta(records: Sequence[Record]) -> dict[str, list[Any]]:
    return {
        "event_id": [record.event_id for record in records],
        "sender": [record.sender for record in records],
        "time": [record.time for record in records],
        "row_state": [str(record.row_state) for record in records],
    }
