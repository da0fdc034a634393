"""Rooms that wait for something to be done in the background, each with the moment from which on it may be."""

from __future__ import annotations

import math

import anyio


class Waiting:
    """A queue of room ids by due time; a room stands in it once. Times are the event loop's, in seconds."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._changed = anyio.Event()

    def add(self, room_id: str, *, due: float = -math.inf) -> None:
        """Let a room wait; if it does already, until the earlier moment."""
        if due < self._due.get(room_id, math.inf):
            self._due.pop(room_id, None)  # behind those that wait for the same moment
            self._due[room_id] = due
            self._changed.set()

    async def next(self) -> str:
        """Take the room that is due first, once it is."""
        while True:
            self._changed = anyio.Event()
            room_id = min(self._due, key=self._due.__getitem__, default=None)
            left = math.inf if room_id is None else self._due[room_id] - anyio.current_time()
            if room_id is not None and left <= 0:
                del self._due[room_id]
                return room_id
            with anyio.move_on_after(left):
                await self._changed.wait()
