"""`matrixdata publish --job`: many records as one named import, which can be run again after a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.cli.output import on_terminal, say, write, write_json
from matrixdata.cli.settings import current
from matrixdata.errors import RecordInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    import matrixdata as md
    from matrixdata.cli.lines import Found
    from matrixdata.cli.outcomes import Milestone
    from matrixdata.collection.report import RejectedRow

_NO_RECORD = {None: "keys are text, so this is refused"}
"""Stands where a line could not be read."""


class Import:
    """One run of a job from the command line.

    Args:
        found: the records with the number of each one's line, and what could not be read in its place.
        unit: what such a number counts: "line" or "record".
    """

    def __init__(self, found: Iterator[Found], unit: str) -> None:
        self._found = found
        self._unit = unit
        self._numbers: list[int] = []
        self._unreadable: dict[int, RecordInvalid] = {}

    def run(self, collection: md.Collection, job: str, *, wait: Milestone, timeout: float) -> bool:
        """Publish what the job has not published yet; True if nothing of it was refused."""
        report = collection.publish_many(self._rows(), job=job, wait=wait, timeout=timeout)
        for row in report.rejected:
            for reason in self._reasons(row):
                say(f"{self._unit} {self._numbers[row.row]}: {reason}", label="error")
        for uid, reason in report.stuck:
            say(f"record {uid} was refused by the server: {reason}", label="error")
        if current().as_json:
            write_json(
                {
                    "job": job,
                    "accepted": report.accepted,
                    "accepted_before": report.skipped,
                    "sent": report.sent,
                    "queued": report.queued,
                    "stuck": len(report.stuck),
                    "rejected": len(report.rejected),
                }
            )
        else:
            (write if on_terminal() else say)(str(report).splitlines()[0])
        return not report.rejected and not report.stuck

    def _rows(self) -> Iterator[object]:
        for number, record in self._found:
            if isinstance(record, RecordInvalid):
                # It keeps its place, so that the rows behind it keep their numbers once it is mended.
                self._unreadable[len(self._numbers)] = record
            self._numbers.append(number)
            yield _NO_RECORD if isinstance(record, RecordInvalid) else record

    def _reasons(self, row: RejectedRow) -> list[str]:
        unreadable = self._unreadable.get(row.row)
        return [str(problem) for problem in (unreadable.problems if unreadable else row.problems)]
