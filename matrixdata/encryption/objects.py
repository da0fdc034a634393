"""Reading JSON objects that strangers wrote. Nothing here raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from matrixdata.model.json import JSONObject


def read_object(data: bytes) -> JSONObject | None:
    """The JSON object in these bytes; None where there is none."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    return value if isinstance(value, dict) else None
