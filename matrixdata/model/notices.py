"""What a subscription tells beside records: how complete and how fresh its stream is. Plain values.

`subscription.events()` puts them between the records, each where it belongs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from matrixdata.model.position import Position
from matrixdata.model.record import InvalidRecord


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Everything that the server had when it last answered has been handed out.

    It comes once after entering, and again after each `Reconnected` and `Gap`.

    Attributes:
        position: the change up to which everything was handed out.
    """

    position: Position


@dataclass(frozen=True, slots=True)
class Gap:
    """The server left records out before those that come next; they are being fetched and come after them.

    Attributes:
        position: where it opened: what is missing was sent after the records up to here.
    """

    position: Position


@dataclass(frozen=True, slots=True)
class GapFilled:
    """What a gap held has been handed out.

    Attributes:
        position: that of the `Gap`.
    """

    position: Position


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The server answers again after an outage; what was sent meanwhile comes next.

    Attributes:
        since: when the server had last answered before; aware, UTC; None when it never had.
        reason: what was wrong, for people.
    """

    since: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """A record arrived that is none: malformed, or against the schema. It is quarantined, never dropped.

    Attributes:
        record: what arrived, with every reason.
        position: where it stands in this replica's change feed.
    """

    record: InvalidRecord
    position: Position


@dataclass(frozen=True, slots=True)
class Redacted:
    """A record was redacted: its content is gone from here, and should go from wherever you put it.

    It comes for every record of the collection, also for those that this subscription never handed out.

    Attributes:
        event_id: the event that carried the record.
        position: the change that removed it.
        index: the record's place among those of that event; None when all that the event carried is gone.
    """

    event_id: str
    position: Position
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """With overflow="drop_oldest": this subscription fell behind, and its oldest items were left out.

    Attributes:
        count: how many, right here.
    """

    count: int


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The replica was damaged and rebuilt from the server since this cursor was last used. It comes first.

    What was handed out before may come again, with the same uid. Edits and redactions made meanwhile of what was
    handed out before are not told of: a query has them.

    Attributes:
        after: the event behind which the subscription goes on; None if none was handed out, or the server no longer
            has it, so that `start=` counts again.
    """

    after: str | None


Notice: TypeAlias = CaughtUp | Gap | GapFilled | Reconnected | Rebuilt | Invalid | Redacted | Dropped
