"""What is believed of a room is never older than the last commit."""

from __future__ import annotations

import anyio

from matrixdata.receiving.standing import Standings
from matrixdata.transport.caller import Caller


class Rooms:
    """A replica in which somebody is put out while it is being read."""

    def __init__(self):
        self.on_commit = []
        self.put_out = False

    async def state(self, _room_id, _types):
        return ()

    async def membership(self, _room_id):
        found = "leave" if self.put_out else "join"
        self.put_out = True
        for listener in self.on_commit:
            listener()
        return found


def test_what_is_committed_while_it_is_read_is_seen_by_the_next_who_asks():
    async def ask():
        standings = Standings(
            Caller(None), Rooms(), None, user_id="@a:b", followed=lambda: (), clock=lambda: 10**9
        )
        return [(await standings.of("!room")).left for _ in range(3)]

    assert anyio.run(ask) == [False, True, True]
