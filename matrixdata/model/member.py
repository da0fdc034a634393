"""Names of records that share one event: the event's id and their place in it. Pure.

A key sorts right behind its event and by its place; no event id holds the character between the two.
"""

from __future__ import annotations

from typing import Final

SEPARATOR: Final = "\t"
BEHIND: Final = "\n"
"""The next character: all keys of an event stand between its id with SEPARATOR and its id with this."""

_DIGITS = 4


def member_key(event_id: str, index: int) -> str:
    """The key of the record at a place of an event, from 0."""
    return f"{event_id}{SEPARATOR}{index:0{_DIGITS}}"


def split_key(key: str) -> tuple[str, int | None]:
    """The event's id and the place in it; None for an event that is a record itself."""
    event_id, separator, index = key.partition(SEPARATOR)
    return (event_id, int(index)) if separator else (key, None)


def event_of(key: str) -> str:
    """The event's id."""
    return key.partition(SEPARATOR)[0]
