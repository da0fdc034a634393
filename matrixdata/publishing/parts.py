"""Cuts many items into commits of moderate size, so that none holds up others or outgrows a small store. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from matrixdata.replica.outbox_item import OutboxItem

PART_BYTES = 64_000
"""Of content in one commit, after which the next begins."""


def parted(items: Iterable[OutboxItem], *, most: int) -> Iterator[list[OutboxItem]]:
    """The items in order, at most `most` of them and some `PART_BYTES` at a time."""
    part: list[OutboxItem] = []
    size = 0
    for item in items:
        part.append(item)
        size += len(item.content)
        if len(part) >= most or size >= PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
