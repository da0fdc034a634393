"""Queries: what to read, from a replica at one moment, the outbox included; and how to hand it over."""

from __future__ import annotations

import re
import warnings
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import anyio.to_thread
import msgspec

from matrixdata.collection.awaited import Awaited, Fetched
from matrixdata.collection.display import Asked, asked, query_html, query_text
from matrixdata.errors import Incomplete, IncompleteWarning, MatrixDataError, Unsupported
from matrixdata.model import Completeness, Position, Record
from matrixdata.model.expression import Expression, matches
from matrixdata.model.ordering import sort_key
from matrixdata.model.paths import parse_path
from matrixdata.model.where import parse_where
from matrixdata.receiving.records import microseconds, moment, pending_record
from matrixdata.replica.scan import Span

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

    from matrixdata.collection.ports import Services
    from matrixdata.model import JSON
Moment = str | datetime | Position
OnIncomplete = Literal["warn", "raise", "ignore"]
_AGO = re.compile(r"-(\d+(?:\.\d+)?)(s|m|h|d|w)")
_TAKES = 'it takes "-24h" (s, m, h, d, w), "2026-01-01T00:00:00Z", an aware datetime or a Position'
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True, slots=True)
class QuerySpec:
    """A query, checked: every mistake in it raised when it was made."""

    span: Span
    where: Expression | None
    order: tuple[str, ...] | Literal["time"] | None
    descending: bool
    columns: tuple[str, ...] | None
    limit: int | None
    on_incomplete: OnIncomplete
    timeout: float
    asked: Asked = ()


def checked_query(
    *,
    where: Mapping[str | tuple[str, ...], object] | str | None,
    since: Moment | None,
    until: Moment | None,
    columns: Sequence[str] | None,
    order: str | None,
    limit: int | None,
    as_of: Position | None,
    on_incomplete: OnIncomplete,
    timeout: float,
    now: int,
    replica: str,
) -> QuerySpec:
    """Check and normalise the arguments of `query`; `now` is in microseconds since 1970 UTC."""
    if on_incomplete not in {"warn", "raise", "ignore"}:
        raise ValueError(f'on_incomplete={on_incomplete!r}; it takes "warn", "raise" or "ignore"')
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise ValueError(f"limit={limit!r}; it takes a whole number of rows, or None for all")
    if isinstance(columns, str):
        raise TypeError(f'columns={columns!r}; it takes a list of names, such as ["{columns}"]')
    if isinstance(where, str):
        raise Unsupported(
            "a filter written in SQL", 'this version takes a mapping, such as where={"temp": {">": 20}}'
        )
    if as_of is not None and not isinstance(as_of, Position):
        raise TypeError(f"as_of={as_of!r}; it takes a Position; Position.parse(text) reads one back")
    if order is not None and not isinstance(order, str):
        raise TypeError(f'order={order!r}; it takes "time" or a path, with "-" before it for descending')
    if as_of is not None and as_of.replica not in {"", replica}:
        raise MatrixDataError(
            "as_of was taken in another replica, whose change numbers mean nothing in this one"
        )
    descending = order is not None and order.startswith("-")
    name = order.removeprefix("-") if order is not None else None
    span = Span(
        since=_bound("since", since, now),
        until=_bound("until", until, now),
        after=_change("since", since, replica),
        as_of=_change("until", until, replica) if as_of is None else as_of.change,
        by_time=name == "time",
        newest_first=name == "time" and descending,
    )
    return QuerySpec(
        span=span,
        where=parse_where(where) if where is not None else None,
        order="time" if name == "time" else None if name is None else parse_path(name),
        descending=descending,
        columns=tuple(columns) if columns is not None else None,
        limit=limit,
        on_incomplete=on_incomplete,
        timeout=timeout,
        asked=asked(
            where=where,
            since=since,
            until=until,
            columns=columns,
            order=order,
            limit=limit,
            as_of=str(as_of) if as_of is not None else None,
        ),
    )


def _bound(name: str, bound: Moment | None, now: int) -> int | None:
    """A bound in time as microseconds since 1970 UTC."""
    if bound is None or isinstance(bound, Position):
        return None
    if isinstance(bound, datetime):
        return microseconds(bound)
    if isinstance(bound, str):
        ago = _AGO.fullmatch(bound)
        if ago:
            return now - int(float(ago[1]) * _SECONDS[ago[2]] * 1_000_000)
        try:
            return microseconds(datetime.fromisoformat(bound))
        except ValueError as error:
            raise ValueError(f"{name}={bound!r} ({error}); {_TAKES}") from None
    raise TypeError(f"{name}={bound!r}; {_TAKES}")


def _change(name: str, bound: Moment | None, replica: str) -> int | None:
    if not isinstance(bound, Position):
        return None
    if bound.replica not in {"", replica}:
        raise MatrixDataError(
            f"{name} was taken in another replica, whose change numbers mean nothing in this one"
        )
    return bound.change


class AsyncQuery:
    """A query that runs when its result is asked for, each time anew.

    It reads the replica at one moment together with the outbox: one row per (sender, uid). Before that it
    waits, for at most `timeout` seconds, until the replica holds what the server has now; without a server it
    reads what is here, and `completeness` says so.
    """

    def __init__(self, services: Services, room_id: str, name: str, spec: QuerySpec) -> None:
        self._services = services
        self._room_id = room_id
        self._name = name
        self._spec = spec
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
    async def to_pandas(self, *, meta: bool = False) -> pd.DataFrame:
        """A DataFrame, one row a record; nested objects as dotted columns, dtypes from the schema if there is one.

        Args:
            meta: add the columns event_id, sender, time (UTC) and row_state.

        Returns:
            The frame; `frame.attrs["matrixdata"]` holds the completeness.

        Raises:
            MissingExtra: pandas is not installed (extra: data).
        """
        frame: pd.DataFrame = await self._framed("to_pandas", meta=meta)
        return frame

    async def to_arrow(self, *, meta: bool = False) -> pa.Table:
        """A pyarrow Table with the types that the schema states (extra: data)."""
        return await self._framed("to_arrow", meta=meta)

    async def to_parquet(self, path: str | os.PathLike[str], *, meta: bool = False) -> Path:
        """Write a Parquet file and return its path; the file appears complete or not at all (extra: data)."""
        written: Path = await self._framed("to_parquet", path, meta=meta)
        return written

    async def _framed(self, builder: str, *arguments: Any, meta: bool) -> Any:  # noqa: ANN401  what the builder makes
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
        return await self._services.freshness.ready(self._room_id, timeout=self._spec.timeout)

    async def _measure(self, *, fresh: bool, pending: int = 0) -> None:
        counts = await self._services.rooms.counts(self._room_id)
        self._completeness = Completeness(**counts, pending=pending, fresh=fresh)

    def _report(self) -> None:
        found = self._completeness
        if found is None or found.complete or self._spec.on_incomplete == "ignore":
            return
        if self._spec.timeout <= 0 and not found.gaps and not found.undecryptable:
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
        if isinstance(self._spec.order, tuple):
            found = [record async for record in self._merged(waiting)]
            path = self._spec.order
            found.sort(key=lambda record: sort_key(record.value, path), reverse=self._spec.descending)
            for record in found[: self._spec.limit]:
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

    async def _waiting(self) -> dict[str, Record]:
        """Our writes not seen to arrive, by uid, in the order of acceptance."""
        if self._spec.span.as_of is not None:
            return {}
        items = await self._services.outbox.list(self._room_id, states=("queued", "sent"))
        span = self._spec.span
        return {
            item.uid: pending_record(item, self._services.user_id)
            for item in items
            if (span.since is None or item.time >= span.since)
            and (span.until is None or item.time < span.until)
        }

    async def _merged(self, waiting: dict[str, Record]) -> AsyncGenerator[Record]:
        """Rows of the replica, then of the outbox (by time: each where its time puts it), filtered."""
        user, replica, keep = self._services.user_id, self._services.replica, self._keep
        by_time, newest_first = self._spec.span.by_time, self._spec.span.newest_first
        late = sorted(waiting.values(), key=lambda r: r.time, reverse=newest_first) if by_time else []
        shown: set[str] = set()
        async with aclosing(self._services.rooms.scan(self._room_id).records(self._spec.span)) as pages:
            async for page in pages:
                for event_id, sender, uid, value, time, change, _ in page:
                    if sender == user:
                        waiting.pop(uid, None)
                        if uid in shown:
                            continue
                    record = Record(
                        msgspec.json.decode(value),
                        event_id,
                        sender,
                        moment(time),
                        Position(change, replica),
                        uid,
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
