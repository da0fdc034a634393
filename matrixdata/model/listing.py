"""A list that notebooks show as a table. It stays a real list: compared, sliced, copied and pickled like one."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from matrixdata.model import html
from matrixdata.model.problem import safe_text, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

T = TypeVar("T")
_SHOWN = 50


class Listing(list[T]):
    """A list whose items are shown as rows.

    Args:
        items: what is listed.
        title: what the items are, in the singular: "invite".
        columns: the items' attributes to show, in order.
    """

    _title = "item"
    _columns: Sequence[str] = ()

    def __init__(self, items: Iterable[T] = (), *, title: str = "item", columns: Sequence[str] = ()) -> None:
        super().__init__(items)
        self._title = title
        self._columns = tuple(columns)

    def __repr__(self) -> str:
        if len(self) > _SHOWN:
            return "[" + ",\n ".join([*map(repr, islice(self, _SHOWN)), f"… {len(self) - _SHOWN:,} more]"])
        return "[" + ",\n ".join(map(repr, self)) + "]"

    def _repr_html_(self) -> str:
        """The items as a table; everything in it is escaped."""
        title = f"{len(self):,} {self._title}{'s' * (len(self) != 1)}"
        if not self or not self._columns:
            return html.panel(title)
        rows = ([readable(getattr(item, name)) for name in self._columns] for item in islice(self, _SHOWN))
        more = len(self) - _SHOWN
        return html.panel(
            title,
            html.table([name.replace("_", " ") for name in self._columns], rows),
            note=f"… and {more:,} more" if more > 0 else "",
        )


def readable(value: object) -> str | None:
    """A value as one line of text for people: JSON for objects and arrays, ISO 8601 for times. Never raises."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, tuple):
        return "; ".join(map(str, value))
    return as_json(value)


def as_json(value: object, most: int = 200) -> str:
    """A value as inert JSON text of at most `most` characters; what is no JSON, as a short repr. Never raises."""
    try:
        text = safe_text(json.dumps(value, ensure_ascii=False)[: most + 1])
    except (TypeError, ValueError, RecursionError):  # not JSON, an integer too long to print, too deep
        return shown(value, most)
    return text if len(text) <= most else text[: most - 1] + "…"
