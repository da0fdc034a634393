"""Waking readers: told after each commit, never before, so that what wakes them is there to be read."""

from __future__ import annotations

import anyio


class Feed:
    """Wakes whoever waits for the next commit. Coalesces: many commits may be one waking."""

    def __init__(self) -> None:
        self._event = anyio.Event()
        self.closed = False

    def wake(self) -> None:
        """Something was committed."""
        self._event.set()
        self._event = anyio.Event()

    def close(self) -> None:
        """The client is closing: nothing more will come."""
        self.closed = True
        self.wake()

    def watch(self) -> anyio.Event:
        """The event that the next commit sets. Take it before reading, wait on it after finding nothing."""
        return self._event
