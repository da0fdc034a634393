"""`md.validate`: check many records against a schema, offline, and show what is wrong with which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

from matrixdata.model.problem import safe_text
from matrixdata.validation.compiled import CompiledSchema, compile_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from matrixdata.model.json import JSON
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


def _missing(cell: object) -> bool:
    """Whether a cell of a frame is empty: None, NaN, NaT and pandas.NA, told without importing pandas."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float) and cell != cell  # noqa: PLR0124  NaN is what differs from itself


def _plain(cell: object) -> object:
    """A frame's cell as JSON: NumPy's scalars as Python's, times as ISO 8601 text."""
    if hasattr(cell, "isoformat"):
        return cell.isoformat()
    # NumPy's scalars have item(); so have arrays, which tolist() turns into lists.
    convert = getattr(cell, "tolist", None)
    return cell if convert is None else convert()


def _records(records: Iterable[Any]) -> Iterable[object]:
    to_dict = getattr(records, "to_dict", None)
    if to_dict is None or not hasattr(records, "columns"):
        if isinstance(records, (Mapping, str, bytes)):
            raise TypeError("validate() takes several records: put the one in a list, [record]")
        return (dict(record) if isinstance(record, Mapping) else record for record in records)
    return (
        {str(key): _plain(cell) for key, cell in row.items() if not _missing(cell)}
        for row in to_dict(orient="records")
    )


def validate(
    records: Iterable[Any], schema: Mapping[str, JSON] | bool | str | CompiledSchema
) -> ValidationReport:
    """Check records against a schema. Needs no server and no network.

    Args:
        records: dicts (or any JSON values), or a pandas DataFrame, whose empty cells count as absent keys and
            whose times are checked as ISO 8601 text.
        schema: JSON Schema draft 2020-12 as in docs/schema-profile.md, as a dict, JSON text, or compiled.

    Returns:
        A report with every problem of every invalid record.

    Raises:
        SchemaError: the schema itself is outside the profile.
        TypeError: `records` is a single record.
    """
    compiled = schema if isinstance(schema, CompiledSchema) else compile_schema(schema)
    checked, rejected = 0, []
    for row, record in enumerate(_records(records)):
        checked += 1
        if not compiled.is_valid(record):
            rejected.append(Rejected(row, tuple(compiled.problems(record))))
    return ValidationReport(checked, tuple(rejected))
