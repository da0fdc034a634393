"""The verdict that something is no record, as it is stored. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from matrixdata.model import RowState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matrixdata.model import Problem
    from matrixdata.replica.rows import EventRow


def listed(problems: Iterable[Problem]) -> bytes:
    """Problems as a row keeps them."""
    return msgspec.json.encode([[p.pointer, p.rule, p.message, p.value] for p in problems])


def invalid_row(row: EventRow, problems: Iterable[Problem]) -> EventRow:
    """The row of an event that is no record for these reasons."""
    return replace(row, record=row.edits is None, row_state=RowState.INVALID, problems=listed(problems))
