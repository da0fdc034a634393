"""A pandas DataFrame to rows of plain Python values. NaN, NA, NaT and None are absent keys."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from matrixdata.frames.arrow_cells import cells, check_names, check_type, rows_of_columns

if TYPE_CHECKING:
    import pandas as pd

_PIECE = 50_000
"""Rows converted at a time, so that reading a frame takes no second copy of it."""


def frame_rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows of a DataFrame; labels and types of its columns are checked before the first row.

    Raises:
        TypeError: a column label is no str, or a column holds what JSON cannot.
        ValueError: a column name twice, an index that would be lost, or times without a zone.
    """
    names = list(frame.columns)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(
                f"the column {name!r} is labelled with a {type(name).__name__}; keys of records are text: "
                "frame.columns = frame.columns.map(str)"
            )
    check_names(names)
    _check_index(frame)
    for position, name in enumerate(names):
        _column(frame.iloc[:0, position], name)
    return _pieces(frame, names)


def _pieces(frame: pd.DataFrame, names: list[str]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(frame), _PIECE):
        piece = frame.iloc[start : start + _PIECE]
        columns = [_column(piece.iloc[:, position], name) for position, name in enumerate(names)]
        yield from rows_of_columns(names, columns, len(piece))


def _check_index(frame: pd.DataFrame) -> None:
    index = frame.index
    if len(index) and (index.nlevels > 1 or index.name is not None or index.dtype.kind not in "iu"):
        name = f" {index.name!r}" if index.name is not None else ""
        raise ValueError(
            f"the frame's index{name} would be lost; make it a column with frame.reset_index(), "
            "or drop it with frame.reset_index(drop=True)"
        )


def _column(series: pd.Series[Any], name: str) -> list[Any]:
    import pyarrow as pa  # noqa: PLC0415  optional and slow to import

    if series.dtype == object:
        return [_cell(cell, name) for cell in series]
    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):
        raise TypeError(
            f"the column {name!r} is of type {series.dtype}, which JSON has not; convert it with .astype(str)"
        ) from None
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    check_type(array.type, name)
    return cells(array, name)


def _cell(cell: Any, name: str) -> Any:  # noqa: ANN401  object columns hold anything; the codec judges it
    import pandas as pd  # noqa: PLC0415  optional and slow to import

    if cell is None or cell is pd.NA or cell is pd.NaT:
        return None
    if type(cell).__module__ == "numpy" and hasattr(cell, "tolist"):
        if cell.dtype.kind in "mM":  # tolist() would make plain numbers of nanoseconds
            raise ValueError(
                f"the column {name!r} holds {cell.dtype}; make it times with a zone: pandas.Timestamp(…, tz=…)"
            )
        cell = cell.tolist()  # scalars to Python numbers, arrays (lists read from Parquet) to lists
        return [_item(item, name) for item in cell] if isinstance(cell, list) else _cell(cell, name)
    if isinstance(cell, float) and cell != cell:  # noqa: PLR0124  the test for NaN
        return None
    if isinstance(cell, datetime):
        return _time(cell, name)
    return cell.isoformat() if isinstance(cell, date) else cell


def _item(item: Any, name: str) -> Any:  # noqa: ANN401  as above
    return _cell(item, name) if type(item).__module__ == "numpy" else item


def _time(cell: datetime, name: str) -> str:
    if cell.tzinfo is None:
        raise ValueError(
            f"the column {name!r} has times without a time zone; say which, for example "
            f'pandas.to_datetime(frame[{name!r}]).dt.tz_localize("UTC")'
        )
    text = cell.astimezone(UTC).isoformat().removesuffix("+00:00")
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "Z"
