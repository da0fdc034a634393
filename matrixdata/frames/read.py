"""What users hand in as rows (dicts, pandas, polars, Arrow, DuckDB) to one dict a row.

Must not decide what a record may hold: that is the codec's business. What has no JSON form and no one right
text (durations, decimals, binary, times without a zone) is refused with the column's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from matrixdata.errors import MissingExtra
from matrixdata.frames.arrow_cells import stream_rows
from matrixdata.frames.flatten import unflatten
from matrixdata.frames.pandas_cells import frame_rows
from matrixdata.model.problem import shown

if TYPE_CHECKING:
    import pandas as pd

_WANTED = "a list (or any iterable) of dicts, a pandas or polars DataFrame, or an Arrow table"


def rows_of(data: object, *, nested: bool = False) -> Iterator[dict[str, Any]]:
    """The rows of `data` as dicts, one at a time, read lazily.

    Dicts come through as they are. In the cells of a frame:

    - A missing cell is an absent key: None, NaN, NA and NaT in pandas, null in Arrow, which in frames of ours
      stood for absent or null. NaN in Arrow or polars, where null is something else, stays NaN.
    - Timestamps become RFC 3339 text in UTC (`2026-01-01T00:00:00.5Z`), dates `2026-01-01`, numpy scalars
      Python numbers, categories their values. Columns of ours that hold JSON text are read back.
    - An index of row numbers is not part of a row.

    Args:
        data: an iterable of mappings; a pandas DataFrame; or anything with the Arrow stream interface
            (polars, pyarrow, DuckDB).
        nested: read keys as paths and nest them: the inverse of how `to_pandas` and `to_arrow` name columns.
            Without it a column `a.b` is a key with a dot in it.

    Raises:
        TypeError: not rows, or a column of a kind that records cannot hold; the message says which.
        ValueError: timestamps without a time zone, an index that would be lost, a column name twice or, with
            `nested`, column names that contradict each other.
        MissingExtra: a frame was given and pyarrow is not installed.
    """
    rows = _reader(data)
    return map(unflatten, rows) if nested else rows


def _reader(data: object) -> Iterator[dict[str, Any]]:
    # Checked here, not in a generator, so that a mistake raises at the call and not at the first row.
    if isinstance(data, (str, bytes, bytearray)):
        raise TypeError(
            f"rows are {_WANTED}, not {type(data).__name__}; parse JSON Lines first: "
            "(json.loads(line) for line in lines)"
        )
    if isinstance(data, Mapping):
        raise TypeError(f"rows are {_WANTED}, not one {type(data).__name__}; for one record use publish(...)")
    if _is_pandas(data):
        _need_pyarrow()
        return frame_rows(data)
    # A series has the stream interface as well, but its items are what it holds: rows if they are dicts.
    if hasattr(data, "__arrow_c_stream__") and type(data).__name__ != "Series":
        _need_pyarrow()
        return stream_rows(data)
    if not isinstance(data, Iterable):
        hint = "; call .collect() first" if hasattr(data, "collect") else ""
        raise TypeError(f"rows are {_WANTED}, not {type(data).__name__}{hint}")
    return _mappings(data)


def _is_pandas(data: object) -> TypeGuard[pd.DataFrame]:
    """Whether it is a pandas DataFrame, or a subclass; without importing pandas."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] == "pandas"
        for kind in type(data).__mro__
    )


def _need_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401, PLC0415  optional and slow to import
    except ImportError:
        raise MissingExtra("reading rows from a frame", "data") from None


def _mappings(data: Iterable[object]) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(data):
        if not isinstance(row, Mapping):
            hint = "; publish its .value" if hasattr(row, "value") else ""
            raise TypeError(f"row {number} is {shown(row)}, a {type(row).__name__} and not a dict{hint}")
        yield row if type(row) is dict else dict(row)
