"""Verification with matrix-nio, which knows neither requests nor identities, and spells hashes in its own way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.servers import wait_until

if TYPE_CHECKING:
    from tests.interop.conftest import Peers
    from tests.servers import TestServer

pytestmark = pytest.mark.server


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_device_of_nio_and_one_of_ours_verify_each_other(
    first: str, peers: Peers, server: TestServer
) -> None:
    """Policy "all": nio has no cross-signing."""
    nio, ours = peers.nio(server.name("nio")), server.connect(server.name("ours"))
    shared = ours.create_collection("shared", trust="all", invite=[nio.user_id])
    nio.join(shared.room_id)
    our_id = ours.keys.status().device_id
    wait_until(lambda: our_id in nio.client.device_store[ours.user_id])
    device = nio.client.device_store[ours.user_id][our_id]

    if first == "ours":
        asked = ours.keys.verify(nio.user_id, device_id=nio.device_id, ask=False)
        (transaction,) = wait_until(lambda: [*nio.client.key_verifications])
        nio.run(nio.client.accept_key_verification(transaction))
    else:
        ours.keys.requests()  # from now on it listens
        nio.run(nio.client.start_key_verification(device))
        (asked,) = wait_until(ours.keys.requests)
        (transaction,) = nio.client.key_verifications
    with ThreadPoolExecutor(1) as pool:
        comparing = pool.submit(asked.compare, timeout=30)
        theirs = nio.client.key_verifications[transaction]
        wait_until(lambda: theirs.established_sas is not None)
        mine = comparing.result()
        # Not the emoji: nio 0.26 takes their numbers for bytes, and shows others than everybody else (measured).
        assert theirs.get_decimals() == mine.numbers
        confirming = pool.submit(asked.confirm, timeout=30)
        nio.run(nio.client.confirm_short_auth_string(transaction))
        confirming.result()
    assert asked.state == "done"
    wait_until(lambda: theirs.verified)
    assert nio.client.olm.is_device_verified(device)
