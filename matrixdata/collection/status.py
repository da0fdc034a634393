"""How a client is doing, as `client.status()` tells it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from matrixdata.model import html
from matrixdata.model.listing import readable

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Status:
    """How a client is doing.

    Attributes:
        connected: the server answered the last time it was asked.
        problem: why not, or why syncing ended; None when all is well.
        following: rooms kept in step.
        last_sync: when the server last answered a sync; aware, UTC; None before.
        queued: accepted records on their way.
        stuck: records that the server refused; kept in the outbox.
        gaps: stretches of history not fetched, over all rooms.
        rate_limited: seconds that the server still asks us to wait.
    """

    user_id: str
    homeserver: str
    device_id: str
    connected: bool
    problem: str | None
    following: int
    last_sync: datetime | None
    queued: int
    stuck: int
    gaps: int
    invalid: int
    undecryptable: int
    rate_limited: float

    def _repr_html_(self) -> str:
        """The facts, for notebooks; everything is escaped."""
        lacks = (
            [f"{self.stuck} records refused by the server; see client.outbox.list()"] if self.stuck else []
        )
        if self.problem:
            lacks.insert(0, self.problem)
        return html.panel(
            f"Status of {self.user_id}",
            html.facts((f.name.replace("_", " "), readable(getattr(self, f.name))) for f in fields(self)),
            warning="; ".join(lacks),
        )
