"""Devices of two users around one exchange."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.encryption.exchange import Exchange, Peer

ALICE, BOB, CAROL = "@alice:one.example", "@bob:one.example", "@carol:two.example"


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def peer(exchange: Exchange) -> Callable[[str, str], Peer]:
    """Make a device whose keys are on the server."""

    def make(user_id: str, device_id: str) -> Peer:
        made = Peer(exchange, user_id, device_id)
        made.flush()
        return made

    return make


@pytest.fixture
def alice(peer: Callable[[str, str], Peer]) -> Peer:
    return peer(ALICE, "PHONE")


@pytest.fixture
def bob(peer: Callable[[str, str], Peer], alice: Peer) -> Peer:
    """Bob and Alice know each other's devices."""
    bob = peer(BOB, "DESK")
    bob.know(alice.me.user_id)
    alice.know(bob.me.user_id)
    return bob
