"""What `collection.invalid()` lists: quarantined records, which are also a DataFrame. Pure; asks nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from matrixdata.collection.tables import data_frame
from matrixdata.model import InvalidRecord
from matrixdata.model.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

_SHOWN = ("time", "sender", "problems", "content")


class InvalidRecords(Listing[InvalidRecord]):
    """A list of quarantined records."""

    def __init__(self, items: Iterable[InvalidRecord] = ()) -> None:
        super().__init__(items, title="invalid record", columns=_SHOWN)

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame of one row a record, with the same dtypes when empty.

        Columns: event_id, sender, time (`datetime64[us, UTC]`, as the event's server stated it); pointer, rule and
        message of the first reason, which is enough to count by; reasons (`object`): all of them, a list of dicts with
        pointer, rule, message and value; content (`object`): what arrived, as Python values.

        Raises:
            MissingExtra: pandas is not installed (extra: data).
        """
        first = [record.problems[0] if record.problems else None for record in self]
        return data_frame(
            {
                "event_id": [record.event_id for record in self],
                "sender": [record.sender for record in self],
                "time": [record.time for record in self],
                "pointer": [problem and problem.pointer for problem in first],
                "rule": [problem and problem.rule for problem in first],
                "message": [problem and problem.message for problem in first],
                "reasons": [[*map(asdict, record.problems)] for record in self],
                "content": [record.content for record in self],
            },
            {"time": "datetime64[us, UTC]", "reasons": "object", "content": "object"},
        )
