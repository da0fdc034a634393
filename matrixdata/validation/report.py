"""What a check of many records found, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from matrixdata.model.problem import safe_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matrixdata.model.problem import Problem

_SHOWN_ROWS: Final = 20


@dataclass(frozen=True, slots=True)
class Rejected:
    """One record that does not satisfy the schema.

    Attributes:
        row: its place in what was given, from 0.
        problems: every reason.
    """

    row: int
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        return "\n".join(f"row {self.row} {problem}" for problem in self.problems)


@dataclass(frozen=True, slots=True, repr=False)
class ValidationReport:
    """What `validate` found. True in a condition when every record is valid.

    Attributes:
        checked: how many records were looked at.
        rejected: those that are invalid, in order.
    """

    checked: int
    rejected: tuple[Rejected, ...]

    @property
    def ok(self) -> bool:
        """Whether every record is valid."""
        return not self.rejected

    def __bool__(self) -> bool:
        return self.ok

    @property
    def _summary(self) -> str:
        records = f"{self.checked:,} record{'s' * (self.checked != 1)}"
        if self.ok:
            return f"{records} checked, all valid"
        return f"{records} checked, {len(self.rejected):,} invalid"

    def __repr__(self) -> str:
        return f"<ValidationReport: {self._summary}>"

    def __str__(self) -> str:
        lines = [self._summary, *(f"  {line}" for line in self._lines())]
        return "\n".join(lines)

    def _lines(self) -> Iterator[str]:
        for rejected in self.rejected[:_SHOWN_ROWS]:
            yield from str(rejected).split("\n")
        if (more := len(self.rejected) - _SHOWN_ROWS) > 0:
            yield f"… and {more:,} more; see .rejected"

    def _repr_html_(self) -> str:
        """The report as a table for notebooks; every text of the records is escaped."""
        if self.ok:
            return f"<p>{escape(self._summary)}</p>"
        rows = "".join(
            f"<tr><td>{rejected.row}</td>"
            + "".join(
                f"<td>{escape(safe_text(cell))}</td>"
                for cell in (problem.pointer, problem.rule, problem.message, problem.value)
            )
            + "</tr>"
            for rejected in self.rejected[:_SHOWN_ROWS]
            for problem in rejected.problems
        )
        more = len(self.rejected) - _SHOWN_ROWS
        tail = f"<p>… and {more:,} more; see .rejected</p>" if more > 0 else ""
        head = "".join(f"<th>{name}</th>" for name in ("row", "where", "rule", "reason", "value"))
        return f"<p>{escape(self._summary)}</p><table><tr>{head}</tr>{rows}</table>{tail}"
