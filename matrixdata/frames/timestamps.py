"""RFC 3339 text to instants in whole microseconds, UTC, a column at a time, through pyarrow.

Strict and exact: a column with one text that is no date-time, or that microseconds cannot hold (finer
fractions, leap seconds, years outside 1 to 9999 in UTC), is not converted at all. Must not guess.
"""

from __future__ import annotations

from typing import Any

_DATE_TIME = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)
_FIRST = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z in microseconds since 1970, as far back as Python's datetime goes."""
_LAST = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z."""


def parse_timestamps(cells: list[Any]) -> Any | None:  # noqa: ANN401  pyarrow is untyped
    """A pyarrow timestamp[us, UTC] array of RFC 3339 (section 5.6) texts, or None when one does not fit.

    The offset is applied and then forgotten: `10:00:00+02:00` and `08:00:00Z` are the same instant.
    """
    import pyarrow as pa  # noqa: PLC0415  optional and slow to import
    import pyarrow.compute as pc  # noqa: PLC0415  as above

    try:
        texts = pa.array(cells, pa.string())
        if pc.any(pc.invert(pc.match_substring_regex(texts, _DATE_TIME))).as_py():
            return None
        times = pc.ascii_upper(texts).cast(pa.timestamp("us", "UTC"))
    except (pa.ArrowInvalid, UnicodeEncodeError):
        return None
    bounds = pc.min_max(times.cast(pa.int64())).as_py()
    if bounds["min"] is not None and not _FIRST <= bounds["min"] <= bounds["max"] <= _LAST:
        return None
    return times
