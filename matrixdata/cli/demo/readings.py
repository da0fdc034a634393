"""The data that the demo publishes: a year of Seattle's temperatures, or a CSV file of the user's.

Makes plain records of them, with times in UTC; sends nothing.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from matrixdata.errors import MatrixDataError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from matrixdata.model import JSON, JSONObject

TIME = "ts"
_SUMMER = "2010/07/01"
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")


@dataclass(frozen=True, slots=True)
class Readings:
    """Records to publish, and what there is to say about them.

    Attributes:
        name: of the collection they belong in.
        schema: JSON Schema that they all satisfy.
        records: each with its time under `ts`, RFC 3339 in UTC.
        source: where they are from, for people.
        zone: IANA name of the time zone of the place they were taken at.
        units: of the columns that have one.
        notes: what was assumed in reading them.
    """

    name: str
    schema: JSONObject
    records: Sequence[JSONObject]
    source: str
    zone: str
    units: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def stretch(self, start: int, count: int) -> list[JSONObject]:
        """`count` records from number `start` on, beginning again at the end."""
        total = len(self.records)
        return [self.records[(start + number) % total] for number in range(min(count, total))]

    @property
    def bad_record(self) -> JSONObject:
        """A record that breaks the schema in its last property, as a broken sensor might."""
        record = dict(self.records[0])
        properties = self.schema["properties"]
        assert isinstance(properties, dict)  # noqa: S101  both makers below give it that form
        broken = list(properties)[-1]
        record[broken] = 12 if properties[broken] == {"type": "string"} or broken == TIME else "warm"
        return record


# -- Seattle ----------------------------------------------------------------------------------------------


def seattle() -> Readings:
    """Hourly temperatures of Seattle in 2010, in °F, from July on and then from January."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415  it reads the build's configuration when imported

    from vega_datasets import data  # noqa: PLC0415  extra: demo

    zone = ZoneInfo("America/Los_Angeles")
    rows = list(csv.DictReader(io.StringIO(data.seattle_temps.raw().decode())))
    summer = next(number for number, row in enumerate(rows) if row["date"].startswith(_SUMMER))
    times = _in_utc((datetime.strptime(row["date"], "%Y/%m/%d %H:%M") for row in rows), zone)
    records: list[JSONObject] = [
        {TIME: time, "temp_f": float(row["temp"])} for time, row in zip(times, rows, strict=True)
    ]
    return Readings(
        name="seattle-temperatures",
        schema=_schema({TIME: {"type": "string", "format": "date-time"}, "temp_f": {"type": "number"}}),
        records=[*records[summer:], *records[:summer]],
        source="hourly temperatures in Seattle, 2010 (from vega_datasets)",
        zone=zone.key,
        units={"temp_f": "°F"},
    )


def _in_utc(local_times: Iterator[datetime], zone: ZoneInfo) -> Iterator[str]:
    """Local times in their order as UTC.

    In autumn one hour comes twice: a time that is not later than the one before it is its second coming. In
    spring one hour is skipped: a time inside it, which no clock showed, counts from the offset before.
    """
    before = None
    for local in local_times:
        second = before is not None and local <= before
        before = local
        yield _rfc3339(local.replace(tzinfo=zone, fold=int(second)))


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


# -- a CSV file ---------------------------------------------------------------------------------------------


def from_csv(path: Path) -> Readings:
    """The rows of a CSV file with a header; its first column that holds times becomes `ts`.

    Columns of numbers become numbers, others text; an empty cell becomes an absent key.

    Raises:
        MatrixDataError: the file has no rows, no column of times, or rows that do not fit its header.
    """
    header, rows = _rows(path)
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    found = next(((name, times) for name in header if (times := _times(columns[name]))), None)
    if found is None:
        raise MatrixDataError(
            f"{path} has no column of times; one whose every cell is a date or time such as "
            "2026-01-31T12:00:00Z is needed, and becomes the time of the records"
        )
    name, times = found
    time = TIME if TIME not in header or name == TIME else name
    in_utc = [_rfc3339(moment.replace(tzinfo=moment.tzinfo or UTC)) for moment in times]
    values: dict[str, Sequence[JSON]] = {time: in_utc}
    properties: JSONObject = {time: {"type": "string", "format": "date-time"}}
    for column in header:
        if column != name:
            kind, values[column] = _typed(columns[column])
            properties[column] = {"type": kind}
    records: list[JSONObject] = [
        {key: cells[number] for key, cells in values.items() if cells[number] is not None}
        for number in range(len(rows))
    ]
    naive = any(moment.tzinfo is None for moment in times)
    return Readings(
        name=re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "readings",
        schema=_schema(properties, time),
        records=records,
        source=path.name,
        zone="UTC",
        notes=(f"the times in {name!r} have no time zone and are taken as UTC",) if naive else (),
    )


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    text = path.read_text(encoding="utf-8-sig")
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=text.partition("\n")[0].count))
    header = [name.strip() for name in next(reader, [])]
    if len(set(header)) < len(header) or "" in header:
        raise MatrixDataError(f"the first line of {path} should name each column once")
    rows = []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise MatrixDataError(
                f"{path}, line {reader.line_num}: {len(row)} cells under {len(header)} names"
            )
        rows.append([cell.strip() for cell in row])
    if not rows:
        raise MatrixDataError(f"{path} has no rows below its header")
    return header, rows


def _times(cells: Sequence[str]) -> list[datetime] | None:
    """The cells as times, or None if one of them is none. Bare digits are numbers."""
    try:
        if any(cell.isdigit() for cell in cells):
            return None
        return [datetime.fromisoformat(cell.replace("/", "-")) for cell in cells]
    except ValueError:
        return None


def _typed(cells: Sequence[str]) -> tuple[str, list[JSON]]:
    """A column's JSON type and its values; None for an empty cell."""
    filled = [cell for cell in cells if cell]
    if filled and all(_INTEGER.fullmatch(cell) for cell in filled):
        return "integer", [int(cell) if cell else None for cell in cells]
    if filled and all(map(_is_number, filled)):
        return "number", [float(cell) if cell else None for cell in cells]
    return "string", [cell or None for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        # "007" is a name, whatever it looks like; NaN is no JSON.
        return math.isfinite(float(cell)) and not re.match(r"[-+]?0\d|.*_", cell)
    except ValueError:
        return False


def _schema(properties: JSONObject, time: str = TIME) -> JSONObject:
    return {"type": "object", "properties": properties, "required": [time]}
