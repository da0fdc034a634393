"""Peers for the tests of interoperability. Each test names the trust policy it uses: nio has no cross-signing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from matrixdata import homeserver
from tests.interop.js_peer import JsPeer
from tests.requirements import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.nio_peer import NioPeer
    from tests.servers import TestServer


class Peers:
    """Makes peers on the shared homeserver, and ends them with the test."""

    def __init__(self, server: TestServer, place: Path) -> None:
        self.server = server
        self._place = place
        self.open: list[JsPeer | NioPeer] = []

    def js(self, name: str) -> JsPeer:
        require("js-sdk")
        peer = JsPeer(self._place / f"js-{len(self.open)}.log")
        self.open.append(peer)
        return peer.login(self.server.url, self.server.user_id(name), self.password(name))

    def nio(self, name: str) -> NioPeer:
        require("nio")
        from tests.interop.nio_peer import NioPeer

        store = self._place / f"nio-{len(self.open)}"
        peer = NioPeer(self.server.url, self.server.user_id(name), self.password(name), store)
        self.open.append(peer)
        return peer

    def password(self, name: str) -> str:
        return homeserver.register(self.server.address, name)


@pytest.fixture
def peers(server: TestServer, tmp_path: Path) -> Iterator[Peers]:
    peers = Peers(server, tmp_path)
    yield peers
    for peer in reversed(peers.open):
        peer.close()
