"""What users hand in, made plain JSON by an explicit table; what the table lacks is refused with advice.

Numpy and pandas are recognised by name and never imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, cast
from uuid import UUID

from matrixdata.errors import RecordInvalid
from matrixdata.model.json import JSON, JSONObject
from matrixdata.model.limits import MAX_DEPTH
from matrixdata.model.problem import Problem, shown
from matrixdata.protocol.rules import (
    MAX_PROBLEMS,
    MAX_VALUES,
    RECORD_SCALARS,
    Path,
    is_clean,
    key_problem,
    problem_at,
    scalar_problem,
    too_deep,
    too_many_values,
)

_ADVICE: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (datetime, "add a time zone: value.replace(tzinfo=timezone.utc) if it is UTC"),
    (Enum, "write value.value"),
    (Decimal, "write float(value) if rounding to a double is right, else str(value)"),
    ((bytes, bytearray, memoryview), "write base64.b64encode(value).decode(), or text if it is text"),
    ((set, frozenset), "write sorted(value): an array has an order"),
    (complex, "write [value.real, value.imag]"),
    (timedelta, "write value.total_seconds()"),
    (time, "write value.isoformat()"),
    (PurePath, "write str(value)"),
    (Iterator, "write list(value)"),
    (range, "write list(value)"),
)

# By name, so that neither library is imported for this.
_ADVICE_BY_NAME = {
    ("numpy", "ndarray"): "write value.tolist()",
    ("numpy", "datetime64"): "write pandas.Timestamp(value, tz='UTC')",
    ("numpy", "timedelta64"): "write value / numpy.timedelta64(1, 's')",
    ("numpy", "longdouble"): "write float(value) if rounding to a double is right",
    ("pandas", "NaTType"): "write None, or leave the key out",
    ("pandas", "NAType"): "write None, or leave the key out",
    ("pandas", "DataFrame"): "publish_many takes frames whole",
    ("pandas", "Series"): "write value.to_dict() or value.tolist()",
    ("pandas", "Timedelta"): "write value.total_seconds()",
}


def to_json(value: object) -> JSON:
    """Plain JSON types from what a user hands in.

    | given | becomes |
    |---|---|
    | dict, any Mapping with string keys | object |
    | list, tuple | array |
    | str, bool, int, float, None, and subclasses (StrEnum, IntEnum) | itself, as the plain type |
    | numpy scalars | what `.item()` gives; a float32 becomes the double it equals |
    | datetime and pandas.Timestamp with a time zone | RFC 3339 text, `Z` for UTC |
    | date | "YYYY-MM-DD" |
    | UUID | its text with hyphens |

    Refused: datetimes without a time zone, NaN, NaT, NA, Decimal, bytes, sets, complex numbers, arrays,
    frames, and all else.

    A value that is plain already is checked in one pass and returned as it is, not copied.

    Returns:
        A value that `rules.check` finds nothing wrong with.

    Raises:
        RecordInvalid: with every place that cannot be converted or breaks a rule of `rules.check`.
    """
    if is_clean(value):
        return cast("JSON", value)
    conversion = _Conversion()
    converted = conversion.of(value, None, 0)
    if conversion.problems:
        raise RecordInvalid(conversion.problems)
    return converted


def to_record(value: object) -> JSONObject:
    """As `to_json`, for a whole record, which is a JSON object.

    Raises:
        RecordInvalid: as `to_json`, and with the rule "type" for anything but an object.
    """
    if not isinstance(value, Mapping):
        message = (
            f"a record is a JSON object (a dict with string keys), and this is of type {_type_name(value)}"
        )
        raise RecordInvalid([Problem("", "type", message, shown(value))])
    return cast("JSONObject", to_json(value))


class _Conversion:
    """One walk over one value. Recursion ends at MAX_DEPTH, so that it cannot exhaust the stack."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._looked_at = 0

    def of(self, value: object, path: Path, depth: int) -> JSON:
        if len(self.problems) >= MAX_PROBLEMS:
            return None
        self._looked_at += 1
        if self._looked_at >= MAX_VALUES:
            if self._looked_at == MAX_VALUES:
                self.problems.append(too_many_values())
            return None
        is_object = isinstance(value, Mapping)
        if is_object or isinstance(value, (list, tuple)):
            if depth == MAX_DEPTH:
                self.problems.append(too_deep(path))
                return None
            if is_object:
                return self._object(cast("Mapping[object, object]", value), path, depth + 1)
            items = cast("list[object]", value)
            return [self.of(item, (path, index), depth + 1) for index, item in enumerate(items)]
        return self._scalar(value, path)

    def _object(self, value: Mapping[object, object], path: Path, depth: int) -> JSON:
        converted: JSONObject = {}
        for given, item in value.items():
            key = str.__str__(given) if isinstance(given, str) else shown(given)
            below: Path = (path, key)
            reason = key_problem(key if isinstance(given, str) else given)
            if reason is None and key in converted:
                reason = "key", "two keys of this mapping are the same text"
            if reason is not None:
                self.problems.append(problem_at(below, *reason, given))
            converted[key] = self.of(item, below, depth)
        return converted

    def _scalar(self, value: object, path: Path) -> JSON:
        plain = _plain(value)
        reason = scalar_problem(plain)
        if reason is None:
            return cast("JSON", plain)
        if reason[0] == "type":
            reason = "type", f"{_type_name(value)} is not JSON; {_advice(value)}"
        self.problems.append(problem_at(path, *reason, value))
        return None


def _plain(value: object) -> object:
    """The JSON scalar that a value stands for by the table of `to_json`, or the value itself."""
    if type(value) in RECORD_SCALARS:
        return value
    if _library_name(value) in _ADVICE_BY_NAME:
        return value
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        value = cast("Any", value).item()
    # Called on the base class: a subclass may have redefined how it prints or converts.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    return _plain_object(value)


def _plain_object(value: object) -> object:
    if isinstance(value, datetime):
        return _rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return value


def _rfc3339(moment: datetime) -> object:
    offset = moment.utcoffset()
    if offset is None:
        return moment
    if offset % timedelta(minutes=1):
        # RFC 3339 section 5.6 writes offsets in whole minutes; local mean times before 1900 have seconds.
        try:
            moment = moment.astimezone(UTC)
        except OverflowError:  # on the first or last day that a datetime can hold
            return moment
        offset = timedelta(0)
    text = moment.isoformat()
    return text[: -len("+00:00")] + "Z" if not offset else text


def _library_name(value: object) -> tuple[str, str]:
    return type(value).__module__.partition(".")[0], type(value).__name__


def _type_name(value: object) -> str:
    module = type(value).__module__
    return type(value).__name__ if module == "builtins" else f"{module}.{type(value).__name__}"


def _advice(value: object) -> str:
    if isinstance(value, datetime) and value.tzinfo is not None and value.utcoffset() is not None:
        return "in UTC it lies outside the years 1 to 9999"
    by_name = _ADVICE_BY_NAME.get(_library_name(value))
    if by_name is not None:
        return by_name
    for types, advice in _ADVICE:
        if isinstance(value, types):
            return advice
    return "write it as an object, array, string, number, boolean or None"
