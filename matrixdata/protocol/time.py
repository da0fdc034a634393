"""The time of a record, read from the field that its collection names. Exact, without float arithmetic."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from matrixdata.model.json import JSON

TimeUnit: TypeAlias = Literal["iso", "s", "ms", "us", "ns"]
TIME_UNITS: tuple[TimeUnit, ...] = get_args(TimeUnit)

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MICROSECONDS_PER_DAY = 86_400 * 10**6

EARLIEST = (date.min.toordinal() - _EPOCH_DAY) * _MICROSECONDS_PER_DAY
"""0001-01-01T00:00:00Z in microseconds since 1970, the first moment of a Python datetime."""

LATEST = (date.max.toordinal() - _EPOCH_DAY + 1) * _MICROSECONDS_PER_DAY - 1
"""9999-12-31T23:59:59.999999Z, the last."""

# Microseconds per unit, as a fraction.
_SCALES = {"s": (10**6, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}

_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def is_pointer(text: str) -> bool:
    """Whether a text is a JSON Pointer (RFC 6901 section 3)."""
    return _POINTER.fullmatch(text) is not None


def read_time(value: JSON, pointer: str, unit: str) -> int | None:
    """The moment that a record states.

    Args:
        value: the record's value, as decoded.
        pointer: JSON Pointer of its time field.
        unit: "iso" for an RFC 3339 date-time, or "s", "ms", "us", "ns" for a number of these since
            1970-01-01T00:00:00Z.

    Returns:
        Microseconds since 1970-01-01T00:00:00Z, between EARLIEST and LATEST; None where there is no
        readable time. Digits of text and integers beyond the microsecond are dropped (towards the past);
        a double is taken at its exact value and rounded to the nearest microsecond, halves to the future.
        A leap second (:60) has no such number and reads as None.
    """
    field = _at(value, pointer)
    moment = _read_iso(field) if unit == "iso" else _read_number(field, unit)
    return moment if moment is not None and EARLIEST <= moment <= LATEST else None


def _at(value: JSON, pointer: str) -> JSON:
    """What stands at a pointer; None where nothing does, which is no time either."""
    if not is_pointer(pointer):
        return None
    for token in pointer.split("/")[1:]:
        if isinstance(value, dict):
            value = value.get(token.replace("~1", "/").replace("~0", "~"))
        elif isinstance(value, list) and _INDEX.fullmatch(token) and int(token) < len(value):
            value = value[int(token)]
        else:
            return None
    return value


def _read_iso(field: JSON) -> int | None:
    match = _RFC3339.fullmatch(field) if isinstance(field, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = match.groups()[6:]
    offset = 0
    if sign:
        if int(offset_hours) > 23 or int(offset_minutes) > 59:
            return None
        offset = int(f"{sign}1") * (int(offset_hours) * 60 + int(offset_minutes))
    if hour > 23 or minute > 59 or second > 59:
        return None
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    seconds = days * 86_400 + hour * 3600 + (minute - offset) * 60 + second
    return seconds * 10**6 + int((fraction or "")[:6].ljust(6, "0"))


def _read_number(field: JSON, unit: str) -> int | None:
    scale = _SCALES.get(unit)
    if scale is None or isinstance(field, bool):
        return None
    times, per = scale
    if isinstance(field, int):
        return field * times // per
    if not isinstance(field, float) or field - field != 0:
        return None
    above, below = field.as_integer_ratio()
    # floor(x + 1/2) in whole numbers
    return (2 * above * times + below * per) // (2 * below * per)
