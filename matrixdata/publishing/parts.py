"""Cuts many items into commits of moderate size, so that none holds up others or outgrows a small store. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PART_BYTES = 64_000
"""Of content in one commit, after which the next begins."""


class Sized(Protocol):
    """What is stored."""

    @property
    def size(self) -> int:
        """Bytes of its content."""
        ...


T = TypeVar("T", bound=Sized)


def parted(items: Iterable[T], *, most: int) -> Iterator[list[T]]:
    """The items in order, at most `most` of them and some `PART_BYTES` at a time."""
    part: list[T] = []
    size = 0
    for item in items:
        part.append(item)
        size += item.size
        if len(part) >= most or size >= PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
