"""The time of a record, read from the field that its collection names. Exact, without float arithmetic."""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import lru_cache
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
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_TO_SECONDS = len("2026-01-01T00:00:00")
_EPOCH = datetime(1970, 1, 1)
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
    tokens = _tokens(pointer)
    if tokens is None:
        return None
    for token in tokens:
        if isinstance(value, dict):
            value = value.get(token)
        elif isinstance(value, list) and _INDEX.fullmatch(token) and int(token) < len(value):
            value = value[int(token)]
        else:
            return None
    return value


@lru_cache(maxsize=64)
def _tokens(pointer: str) -> tuple[str, ...] | None:
    """The keys and indexes of a pointer; None if it is none. An index has no tilde, so it may be unescaped too."""
    if not is_pointer(pointer):
        return None
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def _read_iso(field: JSON) -> int | None:
    match = _RFC3339.fullmatch(field) if isinstance(field, str) else None
    if match is None or not isinstance(field, str):
        return None
    try:
        since = datetime.fromisoformat(field[:_TO_SECONDS]) - _EPOCH
    except ValueError:  # there is no such day
        return None
    fraction, sign, hours, minutes = match.groups()
    seconds = since.days * 86_400 + since.seconds
    if sign:
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds += offset if sign == "-" else -offset
    return seconds * 10**6 + (int(fraction[:6].ljust(6, "0")) if fraction else 0)


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
