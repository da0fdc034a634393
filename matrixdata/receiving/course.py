"""Which rooms a client follows and how that goes: what the sync loop and its rounds share. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from matrixdata.receiving.outages import Outages

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.errors import MatrixDataError


class Course:
    """The state of one client's syncing.

    Args:
        on_change: called when readers may find something new.

    Attributes:
        wanted: rooms that this client follows.
        listening: what is for this device is wanted, whatever the rooms.
        asked: rooms that other processes want of us while we lead.
        live: rooms that have been in step since they were asked for.
        poll: the poll under way; cancelling it loses nothing.
        led_in: the replica that we lead in; None while we do not, or have not begun.
        outages: times without answers that are over.
        failing: why the server was not reached at the last attempt; None when it was.
        fatal: why syncing ended, or rests until somebody logs in again.
        last_answer: when the server last answered, microseconds since 1970 UTC.
        changed: set at the next change; another takes its place then.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self.wanted: set[str] = set()
        self.listening = False
        self.asked: set[str] = set()
        self.live: set[str] = set()
        self.poll = anyio.CancelScope()
        self.led_in: str | None = None
        self.outages = Outages()
        self.failing: MatrixDataError | None = None
        self.fatal: MatrixDataError | None = None
        self.last_answer: int | None = None
        self.changed = anyio.Event()

    def fail(self, error: MatrixDataError) -> None:
        """Syncing ends for a reason; whoever waits for it meets that reason."""
        self.fatal = error
        self.notify()

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        self.changed.set()
        self.changed = anyio.Event()
        self._on_change()
