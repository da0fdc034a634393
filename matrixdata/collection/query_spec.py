"""The arguments of a query, checked and normalised: every mistake in them raises when the query is made."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from matrixdata.collection.display import Asked, asked
from matrixdata.errors import MatrixDataError
from matrixdata.model import Position
from matrixdata.model.expression import Expression
from matrixdata.model.paths import parse_path
from matrixdata.model.where import parse_where
from matrixdata.receiving.records import microseconds
from matrixdata.replica.scan import Span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Moment = str | datetime | Position
OnIncomplete = Literal["warn", "raise", "ignore"]
_AGO = re.compile(r"-(\d+(?:\.\d+)?)(s|m|h|d|w)")
_TAKES = 'it takes "-24h" (s, m, h, d, w), "2026-01-01T00:00:00Z", an aware datetime or a Position'
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class QuerySpec(msgspec.Struct, frozen=True):
    """A query, checked: every mistake in it raised when it was made."""

    span: Span
    where: Expression | None
    sql: str | None
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
        from matrixdata.replica.duck import check_where  # noqa: PLC0415  only SQL needs DuckDB

        check_where(where)
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
        where=None if where is None or isinstance(where, str) else parse_where(where),
        sql=where if isinstance(where, str) else None,
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
