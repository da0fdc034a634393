"""What the demo makes of the collection in the end: a table, statistics, a plot, a file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from matrixdata.cli.records import flat
from matrixdata.cli.table import table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    import matrixdata as md
    from matrixdata.cli.demo.readings import Readings

_LINE, _BAND = "#1f5a8a", "#f0b429"


def last_rows(collection: md.Collection, readings: Readings, count: int = 5) -> str:
    """The newest rows by time, as a table."""
    properties = readings.schema["properties"]
    order = list(properties) if isinstance(properties, dict) else []
    cells = flat(collection.query(order="-time", limit=count).values(), order)
    return table(cells.rows, cells.columns, width=shutil.get_terminal_size().columns).text


def statistics(frame: pd.DataFrame) -> str:
    """Count, mean, spread and quartiles of the numeric columns."""
    numbers = frame.select_dtypes("number")
    return numbers.describe().round(2).to_string() if numbers.columns.size else "(no numeric columns)"


def plot(frame: pd.DataFrame, readings: Readings, time: str, path: Path) -> Path | None:
    """Draw the first numeric column over local time, with each day's range; None if there is no such column."""
    import pandas as pd  # noqa: PLC0415  extra: data
    from matplotlib.figure import Figure  # noqa: PLC0415  as above; without pyplot, which wants a display

    columns = frame.select_dtypes("number").columns
    if not columns.size:
        return None
    column = str(columns[0])
    times = pd.to_datetime(frame[time], utc=True, format="ISO8601").dt.tz_convert(readings.zone)
    series = pd.Series(frame[column].to_numpy(dtype=float, na_value=float("nan")), index=times, name=column)
    series = series.dropna().sort_index()
    figure = Figure(figsize=(10, 4.5), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    _draw_days(axes, series)
    axes.plot(series.index, series, color=_LINE, linewidth=1.4, label=column)
    unit = readings.units.get(column)
    axes.set_ylabel(f"{column} ({unit})" if unit else column)
    axes.set_xlabel(f"time ({readings.zone})")
    axes.set_title(f"{readings.name}: {len(series):,} readings", loc="left", fontweight="bold")
    axes.set_title(f"Source: {readings.source}", loc="right", fontsize=8, color="0.4")
    axes.margins(x=0.01, y=0.16)  # room for the legend above the curve
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right", ncols=2)
    _date_axis(axes, readings)
    figure.savefig(path)
    return path


def _draw_days(axes: Axes, series: pd.Series[float]) -> None:
    """A band from each day's lowest to its highest value, where there are days enough to compare."""
    days = series.groupby(series.index.floor("D", ambiguous=True, nonexistent="shift_forward"))  # type: ignore[attr-defined]  # a DatetimeIndex
    if len(days) < 2 or len(series) < 4 * len(days):
        return
    low, high = days.min(), days.max()
    for number, day in enumerate(low.index):
        end = day + type(day - day)(days=1)
        label = "daily range" if number == 0 else None
        axes.fill_between([day, end], low[day], high[day], color=_BAND, alpha=0.25, linewidth=0, label=label)


def _date_axis(axes: Axes, readings: Readings) -> None:
    from zoneinfo import ZoneInfo  # noqa: PLC0415  it reads the build's configuration when imported

    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415  as above

    zone = ZoneInfo(readings.zone)
    locator = AutoDateLocator(tz=zone)  # type: ignore[no-untyped-call]  # matplotlib's stubs lack it
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz=zone)  # type: ignore[no-untyped-call]  # as above
    axes.xaxis.set_major_formatter(formatter)
