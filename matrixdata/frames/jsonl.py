"""Record values to a JSON Lines file: exact, unlike every frame. Writes only where asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matrixdata.frames.atomic import written

if TYPE_CHECKING:
    import os

    from matrixdata.model.json import JSON


def to_jsonl(
    values: Sequence[JSON],
    path: str | os.PathLike[str],
    *,
    meta: Mapping[str, Sequence[Any]] | None = None,
) -> Path:
    """Write one record a line as JSON (RFC 8259) in UTF-8; reading the lines gives back equal values.

    Integers keep all digits, 21.0 stays `21.0`, floats read back to the same double. The file appears complete or not
    at all, replaces what was there, and is readable by its owner only.

    Args:
        values: the records' values.
        path: where to.
        meta: what else to write, by name, one item a record (a datetime becomes its ISO 8601 text). Each line is
            then an object of these and `value`.

    Returns:
        The path written.

    Raises:
        OSError: the directory is missing or cannot be written; nothing was replaced.
        ValueError: `meta` has another length, or names an item `value`; a value holds NaN or an infinity.
    """
    meta = dict(meta or {})
    if "value" in meta:
        raise ValueError("meta has an item 'value', which is the record's own place")
    for name, items in meta.items():
        if len(items) != len(values):
            raise ValueError(f"meta[{name!r}] has {len(items)} items for {len(values)} records")
    with written(path) as file:
        for row, value in enumerate(values):
            line: object = value
            if meta:
                line = {**{name: _plain(items[row]) for name, items in meta.items()}, "value": value}
            file.write(_line(line))
    return Path(path)


def _plain(item: Any) -> object:  # noqa: ANN401  a scalar or a datetime
    return item.isoformat() if hasattr(item, "isoformat") else item


def _line(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, as a raw event may hold: only an escape can say it
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"
