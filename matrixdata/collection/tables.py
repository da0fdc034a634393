"""Events, state and members as tables of fixed columns: iterable, and DataFrames with stated dtypes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio.to_thread
import msgspec

from matrixdata.collection.awaited import Fetched
from matrixdata.collection.roles import read_power_levels
from matrixdata.errors import MissingExtra
from matrixdata.model import html
from matrixdata.receiving.records import moment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pandas as pd

    from matrixdata.model import JSON
    from matrixdata.replica.rows import Decryption, StateRow, StoredEvent


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One event of a room, as it stands in the replica.

    Attributes:
        time: the event's time as its sender's server claims; aware, UTC; never trusted for order.
        state_key: None for events that are no state.
        content: the content as it arrived; None once redacted.
        row_state: valid, invalid, undecryptable or redacted.
        encrypted: it came encrypted; type and content are then its own, once it could be read.
        device: the device that encrypted it, as far as that is known; with `unauthenticated`, only as claimed.
        standing: what was known of that device when it was read: `verified`, `cross-signed`, `unsigned`, `unknown` (no
            longer listed) or `unauthenticated` (its key came from a backup, a file or another person).
        cause: why it cannot be read, a word of docs/encryption.md's table; None where it can.
        detail: and what would mend that.
    """

    event_id: str
    sender: str
    time: datetime
    type: str
    state_key: str | None
    content: JSON
    row_state: str
    encrypted: bool = False
    device: str | None = None
    standing: str | None = None
    cause: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class StateEvent:
    """One current state event of a room.

    Attributes:
        content: None once redacted, unless the room's rules need some of it.
        row_state: valid or redacted.
    """

    type: str
    state_key: str
    content: JSON
    sender: str
    time: datetime
    event_id: str
    row_state: str


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in, invited to, or gone from a room.

    Attributes:
        role: "reader", "writer" or "owner", as the room's power levels have it.
    """

    user_id: str
    membership: str
    role: str
    display_name: str | None
    power_level: int


def history_event(event: StoredEvent, found: Decryption) -> HistoryEvent:
    """A stored row as readers meet it; of one that came encrypted also how it could be read, or why not."""
    return HistoryEvent(
        event_id=event.event_id,
        sender=event.sender,
        time=moment(event.origin_time * 1000),
        type=event.type,
        state_key=event.state_key,
        content=_content(event.content),
        row_state=event.row_state,
        encrypted=event.sealed,
        device=found.device,
        standing=found.standing,
        cause=found.cause,
        detail=found.detail,
    )


def state_event(row: StateRow) -> StateEvent:
    """A stored state row as readers meet it."""
    return StateEvent(
        type=row.type,
        state_key=row.state_key,
        content=None if row.redacted and row.content == b"{}" else _content(row.content),
        sender=row.sender,
        time=moment(row.origin_time * 1000),
        event_id=row.event_id,
        row_state="redacted" if row.redacted else "valid",
    )


def _content(raw: bytes | None) -> JSON:
    if raw is None:
        return None
    try:
        content: JSON = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return raw.decode("utf-8", "replace")
    return content


def member_rows(state: Iterable[StateRow]) -> list[Member]:
    """The members that a room's current state names."""
    state = tuple(state)
    levels = read_power_levels(state)
    members = []
    for row in state:
        if row.type == "m.room.member":
            content = state_event(row).content
            content = content if isinstance(content, dict) else {}
            name, membership = content.get("displayname"), content.get("membership")
            members.append(
                Member(
                    user_id=row.state_key,
                    membership=membership if isinstance(membership, str) else "",
                    role=levels.role(row.state_key),
                    display_name=name if isinstance(name, str) else None,
                    power_level=levels.of(row.state_key),
                )
            )
    return members


T = TypeVar("T", HistoryEvent, StateEvent, Member)


class AsyncTable(Generic[T]):
    """Rows that are fetched when asked for, each time anew."""

    def __init__(self, kind: type[T], fetch: Callable[[], Awaitable[Iterable[T]]]) -> None:
        self._kind: type[T] = kind
        self._fetch: Callable[[], Awaitable[Iterable[T]]] = fetch

    def __repr__(self) -> str:
        return f"<table of {self._kind.__name__}: {', '.join(f.name for f in fields(self._kind))}>"

    def _repr_html_(self) -> str:
        """Its columns, for notebooks; showing it fetches nothing."""
        return html.panel(
            f"Table of {self._kind.__name__}",
            html.table([f.name for f in fields(self._kind)], []),
            note="fetched when asked for: iterate, .records() or .to_pandas()",
        )

    def __aiter__(self) -> AsyncIterator[T]:
        """The rows."""
        return Fetched(self._fetch)

    async def records(self) -> list[T]:
        """All rows."""
        return list(await self._fetch())

    async def to_pandas(self) -> pd.DataFrame:
        """A DataFrame with one column a field, the same dtypes when empty; times are datetime64[us, UTC].

        Raises:
            MissingExtra: pandas is not installed (extra: data).
        """
        rows = list(await self._fetch())
        return await anyio.to_thread.run_sync(_frame, self._kind, rows)


def _frame(kind: type[Any], rows: list[Any]) -> pd.DataFrame:
    cells = {f.name: [getattr(row, f.name) for row in rows] for f in fields(kind)}
    return data_frame(
        cells,
        {"time": "datetime64[us, UTC]", "content": "object", "power_level": "Int64", "encrypted": "bool"},
    )


def data_frame(cells: Mapping[str, list[Any]], dtypes: Mapping[str, str]) -> pd.DataFrame:
    """A DataFrame of named columns with these dtypes, text where none is given.

    Raises:
        MissingExtra: pandas is not installed.
    """
    try:
        import pandas as pd  # noqa: PLC0415  an optional package, imported when first needed
    except ImportError as error:
        raise MissingExtra("DataFrames", "data") from error
    return pd.DataFrame(
        {
            name: pd.Series(column if name in dtypes else map(_whole, column), dtype=dtypes.get(name, "str"))
            for name, column in cells.items()
        }
    )


def _whole(text: str | None) -> str | None:
    """Text that UTF-8 can say: half a surrogate pair, as others' events may hold, is written as its escape."""
    return text and text.encode(errors="backslashreplace").decode()
