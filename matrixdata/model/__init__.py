"""Plain values that every layer speaks: records, positions, problems. Pure: no I/O, no clock."""

from matrixdata.model.completeness import Completeness
from matrixdata.model.json import JSON, JSONObject
from matrixdata.model.notices import (
    CaughtUp,
    Dropped,
    Gap,
    GapFilled,
    Invalid,
    Notice,
    Rebuilt,
    Reconnected,
    Redacted,
)
from matrixdata.model.position import Position
from matrixdata.model.problem import Problem
from matrixdata.model.record import InvalidRecord, Record, RowState

__all__ = [
    "JSON",
    "CaughtUp",
    "Completeness",
    "Dropped",
    "Gap",
    "GapFilled",
    "Invalid",
    "InvalidRecord",
    "JSONObject",
    "Notice",
    "Position",
    "Problem",
    "Rebuilt",
    "Reconnected",
    "Record",
    "Redacted",
    "RowState",
]
