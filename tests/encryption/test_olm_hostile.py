"""Whatever servers and devices write where the engine reads: nothing raises, and what was known stays."""

from __future__ import annotations

import copy
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matrixdata.encryption import device_lists, olm
from matrixdata.encryption.port import MEGOLM, OLM, SyncChanges, ToDevice
from tests.encryption.exchange import Exchange, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator

ALICE, BOB = "@alice:one.example", "@bob:one.example"
TYPES = (
    *("m.room_key", "m.forwarded_room_key", "m.room_key_bundle", "m.room_key.withheld", "m.room_key_request"),
    *(
        "m.dummy",
        "m.secret.send",
        "m.secret.request",
        "m.key.verification.request",
        "m.room.encrypted",
        "",
        "\ud800",
    ),
)
NAMES = (
    *(
        "algorithm",
        "room_id",
        "session_id",
        "session_key",
        "sender_key",
        "sender_claimed_ed25519_key",
        "action",
    ),
    *(
        "forwarding_curve25519_key_chain",
        "chain_index",
        "shared_history",
        "org.matrix.msc3061.shared_history",
    ),
    *(
        "requesting_device_id",
        "request_id",
        "body",
        "code",
        "reason",
        "file",
        "url",
        "ciphertext",
        "session_data",
    ),
)
words = st.one_of(
    st.sampled_from(
        [MEGOLM, OLM, "request", "request_cancellation", "m.no_olm", "m.blacklisted", "!r:one.example"]
    ),
    st.sampled_from(["PHONE", "DESK", ALICE, BOB, "A" * 43, "ed25519", "\ud800", "\0", "mxc://x/y", ""]),
    st.text(max_size=8),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), words), inner, max_size=4),
    ),
    max_leaves=12,
)
contents = st.dictionaries(st.sampled_from(NAMES), values, max_size=8)
quiet = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@quiet
@given(
    events=st.lists(
        st.tuples(st.sampled_from(TYPES), st.sampled_from([ALICE, BOB, "x", ""]), contents), max_size=4
    )
)
def test_no_event_in_clear_raises(bob: Peer, events: list[Any]) -> None:
    bob.do(bob.engine.receive, SyncChanges(tuple(ToDevice(*event) for event in events)))
    bob.flush()


@quiet
@given(kind=st.sampled_from(TYPES), content=contents)
def test_no_event_that_a_device_encrypted_raises(
    alice: Peer, bob: Peer, tablet: Peer, kind: str, content: Any
) -> None:
    for sender in (alice, tablet):
        device = sender.sees(bob)
        assert device is not None
        encrypted = sender.do(olm.encrypt, device, kind, content)
        assert encrypted is not None
        bob.do(bob.engine.receive, SyncChanges((ToDevice("m.room.encrypted", sender.me.user_id, encrypted),)))
        bob.flush()


@pytest.fixture
def tablet(exchange: Exchange, alice: Peer, bob: Peer) -> Peer:
    """Another device of Bob's, signed by him; it and Alice's have sessions with his desk."""
    tablet = Peer(exchange, BOB, "TABLET")
    tablet.flush()
    bob.cross_sign()
    bob.know(ALICE, BOB)
    bob.settle()
    bob.sign_device(tablet)
    bob.settle()
    for peer in (tablet, alice):
        peer.know(BOB)
        peer.settle()
        assert peer.send(bob, "m.dummy", {})
    bob.settle()
    return tablet


# -- answers ------------------------------------------------------------------------------------------------
def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield path
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        yield from places(child, (*path, key))


def with_another(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """The value with something else at one place."""
    if not path:
        return other
    changed = copy.deepcopy(value)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = other
    return changed


@quiet
@given(seed=st.integers(0, 2**32), other=values)
def test_no_answer_raises_or_changes_what_was_known(alice: Peer, bob: Peer, seed: int, other: Any) -> None:
    known = alice.sees(bob)
    assert known is not None
    alice.connection.execute("DELETE FROM unclaimable")
    alice.connection.execute("DELETE FROM olm_session")
    alice.do(alice.engine.mark_stale)
    alice.do(olm.claim, [known])
    choose = random.Random(seed)
    for request in alice.do(alice.engine.outgoing):
        answer = alice.exchange.answer(alice.me, request)
        wrong = with_another(answer, choose.choice(list(places(answer))), other)
        alice.do(alice.engine.answered, request.id, wrong if isinstance(wrong, dict) else {})

    device = alice.do(device_lists.by_key, known.curve25519)
    assert (device.user_id, device.device_id, device.ed25519) == (BOB, "DESK", known.ed25519)
    alice.do(alice.engine.mark_stale)
    alice.clock.advance(2 * 3_600_000_000)
    alice.flush()
    assert alice.sees(bob) == known
    assert json.dumps(alice.device().keys)
