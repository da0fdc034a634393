"""Records as another program writes them, from docs/wire-format.md alone."""

from __future__ import annotations

import itertools
from typing import Any

_uids = itertools.count(1)


def record(value: Any, *, numbers: list[str] | None = None, uid: str | None = None) -> dict[str, Any]:
    """The content of an io.matrixdata.record; `numbers` points at decimals that are written as strings."""
    return {"v": 1, "uid": uid or f"peer-{next(_uids)}", "value": value} | (
        {"numbers": numbers} if numbers else {}
    )
