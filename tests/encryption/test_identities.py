"""Whose device is it: identities pinned at first sight, verified, changed by a server or by their owner."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from matrixdata.encryption import cross_signing, device_keys, device_lists, identities
from tests.encryption.exchange import Exchange, Peer
from tests.faults.harness import Break, fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.encryption.port import Standing

IDENTITIES = "matrixdata/encryption/identities.py"
ALICE, BOB = "@alice:one.example", "@bob:one.example"


def standing(by: Peer, of: Peer) -> Standing:
    device = by.do(device_lists.by_key, of.device().curve25519)
    assert device is not None
    return by.do(identities.standing, device)  # type: ignore[no-any-return]  # `do` runs anything


def again(*peers: Peer) -> None:
    for peer in peers:
        peer.do(peer.engine.mark_stale)
        peer.flush()


def identity_of(by: Peer, user: str) -> identities.Identity:
    found = by.do(identities.identity, user)
    assert found is not None
    return found  # type: ignore[no-any-return]  # `do` runs anything


def verify(by: Peer, user: str) -> None:
    """As after comparing: on this device, and signed for the user's other devices."""
    target = identity_of(by, user)
    by.do(identities.set_verified, user, target.master)
    signatures = by.do(cross_signing.sign_user, user, target.keys["master"])
    by.exchange.sign(signatures)


def test_a_device_is_worth_what_its_owner_says(alice: Peer, bob: Peer) -> None:
    assert standing(alice, bob) == "unsigned"
    bob.cross_sign()
    again(alice)
    assert standing(alice, bob) == "cross-signed"
    alice.do(identities.set_verified, BOB, identity_of(alice, BOB).master)
    assert standing(alice, bob) == "verified"


def test_our_own_devices(alice: Peer, peer: Callable[[str, str], Peer]) -> None:
    tablet, stranger = peer(ALICE, "TABLET"), peer(ALICE, "STRANGER")
    alice.cross_sign()
    alice.sign_device(tablet)
    again(alice, tablet)

    assert standing(alice, alice) == "verified"  # who we are
    assert standing(alice, tablet) == "verified"  # the identity is ours
    assert standing(alice, stranger) == "unsigned"
    assert (
        standing(tablet, alice) == "cross-signed"
    )  # the tablet has not proved that this identity is its owner's
    assert tablet.do(device_keys.own_device).keys["signatures"] == tablet.device().keys["signatures"]
    assert len(tablet.device().keys["signatures"][ALICE]) == 2  # type: ignore[index, call-overload, arg-type]  # ours


@fault("T-A9", broken=Break(IDENTITIES, "own is None or not own.verified or own.changed", "own is None"))
def test_whom_we_verified_on_one_device_is_verified_on_the_others(
    alice: Peer, bob: Peer, peer: Callable[[str, str], Peer]
) -> None:
    tablet = peer(ALICE, "TABLET")
    alice.cross_sign()
    bob.cross_sign()
    tablet.know(BOB)
    again(alice)
    verify(alice, BOB)
    again(tablet, alice)

    assert not identity_of(
        tablet, BOB
    ).verified  # CVE-2024-40648: whose signature that is, the tablet cannot know
    assert standing(tablet, bob) == "cross-signed"
    tablet.do(identities.set_verified, ALICE, identity_of(tablet, ALICE).master)
    assert identity_of(tablet, BOB).verified
    assert standing(tablet, bob) == "verified"


@fault(
    "T-A9",
    broken=Break(
        IDENTITIES,
        "if owner is not None and not owner.changed and is_signed",
        "if owner is not None and is_signed",
    ),
)
def test_a_server_that_puts_another_identity_in_place_gains_nothing(
    alice: Peer, bob: Peer, peer: Callable[[str, str], Peer], caplog: pytest.LogCaptureFixture
) -> None:
    bob.cross_sign()
    again(alice)
    injected = peer(BOB, "INJECTED")
    injected.cross_sign()
    injected.sign_device(bob)
    again(alice)

    assert identity_of(alice, BOB).changed
    assert (standing(alice, bob), standing(alice, injected)) == ("unsigned", "unsigned")
    assert [it.user_id for it in alice.do(identities.changed_among, [ALICE, BOB])] == [BOB]
    assert "another identity" in caplog.text

    alice.do(identities.acknowledge, BOB)
    assert not identity_of(alice, BOB).changed
    assert standing(alice, injected) == "cross-signed"


def test_an_acknowledged_identity_is_not_verified_by_that(alice: Peer, bob: Peer) -> None:
    bob.cross_sign()
    again(alice)
    alice.do(identities.set_verified, BOB, identity_of(alice, BOB).master)
    bob.cross_sign()
    again(alice)
    assert identity_of(alice, BOB).changed
    alice.do(identities.acknowledge, BOB)

    assert not identity_of(alice, BOB).verified
    assert standing(alice, bob) == "cross-signed"


def test_an_identity_that_changed_and_was_verified_elsewhere_needs_no_more(
    alice: Peer, bob: Peer, peer: Callable[[str, str], Peer]
) -> None:
    alice.cross_sign()
    bob.cross_sign()
    again(alice)
    bob.cross_sign()
    again(alice)
    assert identity_of(alice, BOB).changed
    tablet = peer(ALICE, "TABLET")
    tablet.know(BOB)
    verify_with(alice, tablet)
    again(alice)

    assert not identity_of(alice, BOB).changed
    assert standing(alice, bob) == "verified"


def verify_with(owner: Peer, other: Peer) -> None:
    """`other`, given its owner's keys, verifies Bob."""
    for name in cross_signing.USAGE:
        row = owner.connection.execute("SELECT sealed FROM secret WHERE name = ?", (name,)).fetchone()
        other.connection.execute("INSERT OR REPLACE INTO secret (name, sealed) VALUES (?, ?)", (name, row[0]))
    verify(other, BOB)


def test_what_was_compared_is_what_is_verified_whatever_the_server_says_by_then(
    alice: Peer, bob: Peer
) -> None:
    bob.cross_sign()
    again(alice)
    compared = identity_of(alice, BOB).master
    bob.cross_sign()
    again(alice)
    alice.do(identities.set_verified, BOB, compared)

    assert identity_of(alice, BOB).changed
    assert standing(alice, bob) == "unsigned"


def test_only_a_self_signing_key_that_the_master_key_signed_signs_devices(alice: Peer, bob: Peer) -> None:
    bob.cross_sign()
    alice.exchange.identities[BOB]["self_signing"]["signatures"] = {}
    again(alice)

    assert identity_of(alice, BOB).self_signing is None
    assert standing(alice, bob) == "unsigned"


def test_the_user_signing_key_of_others_is_not_looked_at(alice: Peer, bob: Peer) -> None:
    bob.cross_sign()
    [request] = ask(alice)
    answer = alice.exchange.answer(alice.me, request)
    answer["user_signing_keys"] = {BOB: alice.exchange.identities[BOB]["user_signing"]}
    alice.do(alice.engine.answered, request.id, answer)

    assert identity_of(alice, BOB).user_signing is None


def ask(peer: Peer) -> Any:
    peer.do(peer.engine.mark_stale, [BOB])
    return peer.do(device_lists.ask)


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": ALICE},
        {"usage": ["self_signing"]},
        {"usage": "master"},
        {"keys": {}},
        {"keys": {"ed25519:a": "b"}},
        {"keys": {"ed25519:" + "A" * 43: "A" * 43, "ed25519:b": "b"}},
        {"keys": {"ed25519:short": "short"}},
        {"keys": 5},
    ],
)
def test_a_malformed_master_key_is_none(alice: Peer, bob: Peer, change: dict[str, Any]) -> None:
    bob.cross_sign()
    alice.exchange.identities[BOB]["master"].update(change)
    again(alice)

    assert alice.do(identities.identity, BOB) is None
    assert alice.sees(bob) is not None


def test_an_identity_that_the_server_stops_showing_stays_pinned(alice: Peer, bob: Peer) -> None:
    bob.cross_sign()
    again(alice)
    before = identity_of(alice, BOB)
    kept = alice.exchange.identities.pop(BOB)
    again(alice)
    assert identity_of(alice, BOB) == before

    alice.exchange.identities[BOB] = kept
    bob.cross_sign()
    again(alice)
    assert identity_of(alice, BOB).changed


@fault(
    "T-A10",
    broken=Break(
        "matrixdata/encryption/device_answers.py",
        "if device.device_id in cross_signing or device.ed25519 in cross_signing:",
        "if False:",
    ),
)
@pytest.mark.parametrize("usage", ["master", "self_signing"])
def test_a_device_named_like_a_cross_signing_key_is_ignored(
    alice: Peer, bob: Peer, usage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A10, CVE-2022-39250: comparing "that device" would verify the identity."""
    bob.cross_sign()
    [name] = alice.exchange.identities[BOB][usage]["keys"].values()
    trap = Peer(Exchange(), BOB, name)
    alice.exchange.devices[BOB, name].device_keys = dict(trap.device().keys)
    again(alice)

    assert alice.sees(trap) is None
    assert "cross-signing key" in caplog.text


def test_who_logs_in_anew_under_an_old_device_id_is_believed_on_the_owner_s_word_only(
    alice: Peer, bob: Peer, peer: Callable[[str, str], Peer]
) -> None:
    tablet = peer(BOB, "TABLET")
    tablet.cross_sign()
    tablet.sign_device(bob)
    again(alice)
    anew = Peer(Exchange(), BOB, "DESK")
    bob.exchange.devices[BOB, "DESK"].device_keys = copy.deepcopy(dict(anew.device().keys))
    again(alice)
    assert alice.sees(bob) == alice.do(device_lists.by_key, bob.device().curve25519)

    tablet.know()
    again(tablet)
    signatures = tablet.do(cross_signing.sign_device, anew.device().keys)
    bob.exchange.sign(signatures)
    again(alice)

    listed = alice.sees(anew)
    assert listed is not None
    assert listed.ed25519 == anew.device().ed25519
    assert standing(alice, anew) == "cross-signed"
    former = alice.do(device_lists.by_key, bob.device().curve25519)
    assert former is not None
    assert former.deleted
    assert alice.do(identities.standing, former) == "cross-signed"  # what it wrote, it wrote
