"""What became of many records at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from matrixdata.model import html

if TYPE_CHECKING:
    from matrixdata.model import Problem

_SHOWN = 20


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
        dropped: accepted rows that were dropped unsent since, to make room for later ones.
        stuck_records: how many records those are; an event of a batch is one there, whatever it holds.
        skipped: rows that an earlier run of the same job had accepted; they are in none of the other counts.
    """

    accepted: int
    sent: int
    stuck: tuple[tuple[str, str], ...] = ()
    rejected: tuple[RejectedRow, ...] = ()
    skipped: int = 0
    dropped: int = 0
    stuck_records: int = 0

    @property
    def queued(self) -> int:
        """Rows accepted that are still on their way."""
        return self.accepted - self.sent - max(self.stuck_records, len(self.stuck)) - self.dropped

    @property
    def _summary(self) -> str:
        parts = [f"{self.accepted:,} accepted", f"{self.sent:,} sent"]
        if self.skipped:
            parts.append(f"{self.skipped:,} accepted before")
        if self.queued:
            parts.append(f"{self.queued:,} still queued")
        if self.stuck:
            parts.append(f"{max(self.stuck_records, len(self.stuck)):,} refused by the server")
        if self.dropped:
            parts.append(f"{self.dropped:,} dropped")
        if self.rejected:
            parts.append(f"{len(self.rejected):,} rejected")
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"<PublishReport: {self._summary}>"

    def __str__(self) -> str:
        lines = [self._summary, *(f"  {row}" for row in self.rejected[:10])]
        if len(self.rejected) > 10:
            lines.append(f"  … and {len(self.rejected) - 10:,} more in report.rejected")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The counts, and a table of what went wrong, for notebooks; everything is escaped."""
        wrong: list[list[str | None]] = [
            [f"row {row.row}", problem.pointer, problem.rule, problem.message, problem.value]
            for row in self.rejected[:_SHOWN]
            for problem in row.problems
        ]
        wrong += [
            [f"uid {uid}", None, reason, "refused by the server", None] for uid, reason in self.stuck[:_SHOWN]
        ]
        more = max(len(self.rejected) - _SHOWN, 0) + max(len(self.stuck) - _SHOWN, 0)
        return html.panel(
            self._summary,
            *([html.table(("record", "where", "rule", "reason", "value"), wrong)] if wrong else []),
            note=f"… and {more:,} more in report.rejected and report.stuck" if more else "",
            warning="Some records are not in the collection." if wrong else "",
        )
