"""What became of many records at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matrixdata.model import Problem


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was not accepted.

    Attributes:
        row: its number among the rows given, from 0.
        problems: every reason, each with a JSON Pointer.
    """

    row: int
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        return f"row {self.row}: " + "; ".join(str(problem) for problem in self.problems)


@dataclass(frozen=True, slots=True)
class PublishReport:
    """The outcome of `publish_many`.

    Attributes:
        accepted: rows durable here; they will be sent, now or later.
        sent: those of them that the server has acknowledged.
        stuck: those that the server refused, with the reason; they stay in the outbox.
        rejected: rows that were not accepted, with every reason.
    """

    accepted: int
    sent: int
    stuck: tuple[tuple[str, str], ...] = ()
    rejected: tuple[RejectedRow, ...] = ()

    @property
    def queued(self) -> int:
        """Rows accepted that are still on their way."""
        return self.accepted - self.sent - len(self.stuck)

    def __str__(self) -> str:
        parts = [f"{self.accepted:,} accepted", f"{self.sent:,} sent"]
        if self.queued:
            parts.append(f"{self.queued:,} still queued")
        if self.stuck:
            parts.append(f"{len(self.stuck):,} refused by the server")
        if self.rejected:
            parts.append(f"{len(self.rejected):,} rejected")
        lines = [", ".join(parts), *(f"  {row}" for row in self.rejected[:10])]
        if len(self.rejected) > 10:
            lines.append(f"  … and {len(self.rejected) - 10:,} more in report.rejected")
        return "\n".join(lines)
