"""Behind which event a cursor goes on where its numbers mean nothing any more, as in a replica that was rebuilt.

The feed is in the order of arrival, the anchor stands in the timeline. So it only moves past an event when nothing
that stands before that event is still to be handed out: rather is a record handed out again than left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matrixdata.replica.rows import FeedEntry, FeedPage

_ARRIVALS = frozenset({"live", "backfilled"})


class Anchor:
    """One subscription's."""

    def __init__(self, event_id: str | None) -> None:
        self.event_id = event_id
        self._newest: tuple[int, str] | None = None

    def through(self, page: FeedPage, *, since: int | None) -> dict[int, str | None]:
        """By change, the anchor once everything up to it was handed out; moves on to the end of the page.

        Args:
            page: what comes next.
            since: the change from which on the subscription calls things new; None: everything.
        """
        missing = any(not gap.from_start and (since is None or gap.opened >= since) for gap in page.gaps)
        anchors: dict[int, str | None] = {}
        for entry, still_to_come in zip(page.entries, _lowest_after(page.entries), strict=True):
            if entry.kind in _ARRIVALS:
                self._newest = max(
                    self._newest or (entry.position, ""), (entry.position, entry.event.event_id)
                )
            if self._newest is not None and not missing and self._newest[0] < still_to_come:
                self.event_id = self._newest[1]
            anchors[entry.change] = self.event_id
        return anchors


def _lowest_after(entries: Sequence[FeedEntry]) -> Iterator[float]:
    """For each entry, the lowest position among those behind it that have just arrived."""
    lowest = [float("inf")]
    for entry in reversed(entries):
        lowest.append(min(lowest[-1], entry.position) if entry.kind in _ARRIVALS else lowest[-1])
    return reversed(lowest[:-1])
