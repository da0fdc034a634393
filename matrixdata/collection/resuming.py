"""One run of a named job: which of its rows an earlier run had accepted, and under which uid each row goes."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import msgspec

from matrixdata.errors import Conflict
from matrixdata.replica.jobs import JobRows

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Sequence

    from matrixdata.model import JSONObject

_LONGEST = 255


def checked_job(name: str) -> str:
    """A job's name, or ValueError saying what is wrong with it."""
    if not isinstance(name, str):
        raise TypeError(f"job={name!r}; it takes a name of your choice, such as 'import-7'")
    if not name.strip() or not name.isprintable() or len(name.encode(errors="replace")) > _LONGEST:
        raise ValueError(f"job={name!r}; it takes 1 to {_LONGEST} bytes of printable text")
    return name


class Resumption:
    """What is known of a job's rows. The uid of a row follows from job, row number and content alone.

    So a row that is accepted twice, as from two machines, counts once for every reader; and two jobs that happen to
    share a name hide nothing of each other, since other content gets another uid.

    Args:
        accepted: digests of the rows accepted before, by row number; 0 for one that was not.
    """

    def __init__(self, room_id: str, name: str, accepted: array[int]) -> None:
        self._room_id = room_id
        self._name = name
        self._accepted = accepted
        self._rows: dict[str, tuple[int, int]] = {}  # by uid, until queued
        self.skipped = 0
        self.last_skipped: str | None = None
        """The uid of the last row passed over: when it has been sent, so have those before it."""

    def uid_of(self, number: int, record: JSONObject) -> str | None:
        """The uid of a row that is to be accepted now; None for one that was accepted before.

        Raises:
            Conflict: another record was accepted under that job and row number.
        """
        found = hashlib.sha256(msgspec.json.encode([self._name, number, record], order="sorted")).digest()
        uid = base64.urlsafe_b64encode(found[:18]).decode()
        digest = int.from_bytes(found[24:], "big", signed=True) or 1
        before = self._accepted[number] if number < len(self._accepted) else 0
        if before == 0:
            self._rows[uid] = number, digest
            return uid
        if before != digest:
            raise Conflict(
                f"row {number} of job {self._name!r} was accepted before with other content; give each import a job= "
                "of its own, and the same rows in the same order when you run it again"
            )
        self.skipped += 1
        self.last_skipped = uid
        return None

    def noted(self, filled: Iterable[tuple[str, Sequence[str]]]) -> JobRows:
        """What to note in the commit that queues items: the uid of each, and of the rows that it holds."""
        digests, numbers = dict[int, int](), dict[str, tuple[int, int]]()
        for item, uids in filled:
            rows = [self._rows.pop(uid) for uid in uids]
            digests |= rows
            numbers[item] = (rows[0][0], rows[-1][0])
        return JobRows(self._room_id, self._name, digests, numbers)
