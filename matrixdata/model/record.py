"""A record as readers meet it, and the closed set of states an event's row can be in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING

from matrixdata.model import html
from matrixdata.model.listing import as_json, readable
from matrixdata.model.problem import safe_text

if TYPE_CHECKING:
    from matrixdata.model.json import JSON
    from matrixdata.model.position import Position
    from matrixdata.model.problem import Problem


_SHOWN = 50
_ORIGIN = ("sender", "time", "event_id", "uid", "row_state")
_REASON = ("pointer", "rule", "message", "value")


class RowState(StrEnum):
    """What an event in the replica, or a write on its way, is. Every row is in exactly one state."""

    VALID = "valid"
    INVALID = "invalid"
    """Quarantined: malformed or against its schema; listed by `collection.invalid()`, never dropped."""
    UNDECRYPTABLE = "undecryptable"
    REDACTED = "redacted"
    """Its author or a moderator removed the content; nothing of it is kept."""
    PENDING = "pending"
    """Accepted here, in the outbox, not yet seen to arrive."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a collection.

    Attributes:
        value: the JSON document, equal to what was published, types included.
        event_id: Matrix's id of the event that carried it; None while pending.
        sender: Matrix user id of who published it.
        time: the collection's time field if it has one, else the event's time; aware, UTC.
        position: where it stands in this replica's change feed; None while pending.
        uid: the id its sender gave it; readers count one row per (sender, uid).
        row_state: VALID or PENDING here; other states are listed by `invalid()` and `history()`.
        edited: its sender replaced the value since by an edit; `event_id` stays that of the event that brought it.
        index: its place among the records of that event, from 0; None for an event that is one record.
    """

    value: JSON
    event_id: str | None
    sender: str
    time: datetime
    position: Position | None
    uid: str
    row_state: RowState = RowState.VALID
    edited: bool = False
    index: int | None = None

    def __repr__(self) -> str:
        return (
            f"<Record {as_json(self.value)} from {safe_text(self.sender)} "
            f"at {readable(self.time)}, {self.row_state}>"
        )

    def _repr_html_(self) -> str:
        """What it holds and where it came from, as tables for notebooks; everything is escaped."""
        value = self.value.items() if isinstance(self.value, dict) else [("value", self.value)]
        pending = self.row_state is RowState.PENDING
        return html.panel(
            "Record",
            html.facts((key, readable(member)) for key, member in islice(value, _SHOWN)),
            html.facts((name.replace("_", " "), readable(getattr(self, name))) for name in _ORIGIN),
            note=f"… and {len(value) - _SHOWN:,} more" if len(value) > _SHOWN else "",
            warning="not yet seen to arrive at the server" if pending else "",
        )


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """A quarantined event: what arrived, and every reason why it is no record.

    Attributes:
        content: the event's content as it arrived, possibly malformed; hostile until shown otherwise.
        problems: every reason, each with a JSON Pointer into the record's value.
        index: its place among the records of that event, whose others may be valid; None for a whole event.
        time: the event's time as its server stated it; aware, UTC.
    """

    event_id: str
    sender: str
    time: datetime
    content: JSON
    problems: tuple[Problem, ...] = field(default=())
    index: int | None = None

    def __repr__(self) -> str:
        return (
            f"<InvalidRecord {as_json(self.content)} from {safe_text(self.sender)} "
            f"at {readable(self.time)}: {safe_text('; '.join(map(str, self.problems)))}>"
        )

    def _repr_html_(self) -> str:
        """What arrived and why it is no record, as tables for notebooks; everything is escaped."""
        return html.panel(
            "Invalid record",
            html.table(_REASON, ([getattr(problem, name) for name in _REASON] for problem in self.problems)),
            html.facts(
                (name.replace("_", " "), readable(getattr(self, name)))
                for name in ("content", "sender", "time", "event_id")
            ),
        )
