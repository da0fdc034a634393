"""How much of a store a device can afford: with or without a replica, up to how many bytes. Pure."""

from __future__ import annotations

import re
from typing import Literal, cast

import msgspec

Replica = Literal["full", "none"]
OnFull = Literal["refuse", "drop_oldest"]

LEAST = 1_000_000
"""Bytes: two empty databases and their logs take about half of it."""
_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmg]i?)?b?\s*", re.IGNORECASE)
_PAGE = 4096


class Footprint(msgspec.Struct, frozen=True):
    """What a store may keep.

    Attributes:
        replica: "none": only what is on its way out, and what is needed to check it.
        limit: bytes that databases and their logs may take before publishing is refused; None: any.
        on_full: what to do then.
    """

    replica: Replica = "full"
    limit: int | None = None
    on_full: OnFull = "refuse"

    @property
    def keep_sent(self) -> int:
        """How many acknowledged records at least stay until a sync brings them back."""
        return 1000 if self.replica == "full" else 50

    @property
    def log_pages(self) -> int:
        """Pages of a database's log (WAL) after which it is brought into the file; 1000 is SQLite's own."""
        return 1000 if self.limit is None else max(16, min(1000, self.limit // 16 // _PAGE))


EVERYTHING = Footprint()


def checked_footprint(replica: str, store_limit: str | int | None, on_full: str) -> Footprint:
    """The footprint that the arguments of `connect` describe.

    Raises:
        ValueError, TypeError: what is wrong with which of them.
    """
    if replica not in {"full", "none"}:
        raise ValueError(f'replica={replica!r}; it takes "full" or "none"')
    if on_full not in {"refuse", "drop_oldest"}:
        raise ValueError(f'on_full={on_full!r}; it takes "refuse" or "drop_oldest"')
    limit = _bytes(store_limit) if store_limit is not None else None
    if limit is None and on_full != "refuse":
        raise ValueError(f"on_full={on_full!r} says what to do at a limit; give store_limit= too")
    return Footprint(cast("Replica", replica), limit, cast("OnFull", on_full))


def _bytes(limit: str | int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, (str, int)):
        raise TypeError(f"store_limit={limit!r}; it takes a number of bytes, or text such as '64MB'")
    found = _SIZE.fullmatch(str(limit))
    if found is None:
        raise ValueError(
            f"store_limit={limit!r}; it takes a number of bytes, or text such as '64MB' or '64MiB'"
        )
    size = int(float(found[1]) * _UNITS[(found[2] or "").lower()])
    if size < LEAST:
        raise ValueError(f"store_limit={limit!r}; at least {LEAST:,} bytes are needed")
    return size
