"""Verification by short strings: two sides that talk, and somebody in between."""

from __future__ import annotations

import json
from base64 import b64decode
from collections import deque
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vodozemac import Curve25519PublicKey, Sas

from matrixdata.encryption import sas
from matrixdata.encryption.sas import Authentication, Party
from matrixdata.encryption.verification import TIMEOUT, Verification
from matrixdata.encryption.verification_messages import REASONS, Message
from tests.requirements import SHARED_DATA, require

ALICE = Party("@alice:a", "ALICEDEV", "A" * 43, master="M" * 43)
BOB = Party("@bob:b", "BOBDEV", "B" * 43, master="N" * 43)
NOW = 1_700_000_000_000_000


def pair(alice: Party = ALICE, bob: Party = BOB) -> tuple[Verification, Verification]:
    """Alice asked; nobody said anything yet."""
    return (
        Verification(alice, bob, "txn", NOW, asked_by_us=True),
        Verification(bob, alice, "txn", NOW, asked_by_us=False),
    )


def talk(alice: Verification, bob: Verification, first: list[Message], *, to: Verification) -> list[Message]:
    """Carry messages until nobody has more to say, as JSON; what was said."""
    waiting = deque((to, message) for message in first)
    said: list[Message] = []
    while waiting:
        receiver, message = waiting.popleft()
        said.append(message)
        other = alice if receiver is bob else bob
        content = json.loads(json.dumps(message.content))
        waiting.extend((other, reply) for reply in receiver.receive(message.type, content))
    return said


def compared(alice: Party = ALICE, bob: Party = BOB) -> tuple[Verification, Verification]:
    one, two = pair(alice, bob)
    talk(one, two, two.ready(), to=one)
    return one, two


def agreed(one: Verification, two: Verification) -> None:
    talk(one, two, one.confirm(), to=two)
    talk(one, two, two.confirm(), to=one)


def test_two_sides_see_the_same_string_and_each_verifies_the_others_keys() -> None:
    one, two = compared()
    assert one.state == two.state == "comparing"
    assert one.string == two.string
    assert one.string is not None
    assert len(one.string.emoji) == 7
    assert all(1000 <= number <= 9191 for number in one.string.numbers)

    talk(one, two, one.confirm(), to=two)
    assert (one.state, two.state) == ("waiting", "comparing")
    talk(one, two, two.confirm(), to=one)
    assert one.state == two.state == "done"
    assert set(one.verified) == {BOB.ed25519, BOB.master}
    assert set(two.verified) == {ALICE.ed25519, ALICE.master}


def test_nothing_is_verified_before_both_people_said_so() -> None:
    one, two = compared()
    assert two.verified == ()
    talk(one, two, one.confirm(), to=two)
    assert one.verified == two.verified == ()


def test_a_start_without_a_request_waits_for_the_person() -> None:
    one, two = pair()
    talk(one, two, one.start(), to=two)
    assert (one.state, two.state) == ("agreeing", "asked")
    talk(one, two, two.ready(), to=one)
    assert one.state == two.state == "comparing"
    agreed(one, two)
    assert one.state == two.state == "done"


@pytest.mark.parametrize("first", ["one", "two"])
def test_when_both_start_the_smaller_user_id_counts(first: str) -> None:
    one, two = pair()
    one.state = two.state = "ready"
    from_one, from_two = one.start(), two.start()
    if first == "one":
        talk(one, two, from_one, to=two)
        talk(one, two, from_two, to=one)
    else:
        talk(one, two, from_two, to=one)
        talk(one, two, from_one, to=two)
    assert one.state == two.state == "comparing"
    assert one.string == two.string


def test_people_who_see_different_strings_end_it() -> None:
    one, two = compared()
    talk(one, two, one.differ(), to=two)
    assert (one.cancel_code, two.cancel_code) == ("m.mismatched_sas", "m.mismatched_sas")
    assert one.cancelled_by_us
    assert not two.cancelled_by_us
    assert "somebody may be in between" in two.why
    assert one.confirm() == two.confirm() == []


def test_somebody_in_between_cannot_have_both_see_the_same() -> None:
    """Mallory holds both connections and shows each side a key of her own."""
    one, mallory_bob = pair()
    talk(one, mallory_bob, mallory_bob.ready(), to=one)
    mallory_alice, two = pair()
    talk(mallory_alice, two, two.ready(), to=mallory_alice)
    assert one.string != two.string


def test_a_key_changed_after_the_commitment_is_noticed() -> None:
    one, two = pair()
    talk(one, two, [], to=one)
    start = one.receive("m.key.verification.ready", two.ready()[0].content)
    accept = two.receive(start[0].type, start[0].content)
    one.receive(accept[0].type, accept[0].content)
    forged = {"transaction_id": "txn", "key": Sas().public_key.to_base64()}
    cancel = one.receive("m.key.verification.key", forged)
    assert cancel[0].content["code"] == one.cancel_code == "m.mismatched_commitment"


def test_another_key_than_the_listed_one_is_noticed() -> None:
    """The server lists another fingerprint for Bob than he has (or changed it since: keys are fixed at the start)."""
    one, two = pair()
    one.other = replace(BOB, ed25519="C" * 43)
    talk(one, two, two.ready(), to=one)
    agreed(one, two)
    assert one.cancel_code == "m.key_mismatch"
    assert one.verified == ()


def test_an_unknown_master_key_is_left_out_and_the_device_still_verified() -> None:
    one, two = pair()
    one.other = replace(BOB, master=None)
    talk(one, two, two.ready(), to=one)
    agreed(one, two)
    assert one.verified == (BOB.ed25519,)


@pytest.mark.parametrize("drop", ["keys", "mac"])
def test_macs_that_lack_something_verify_nothing(drop: str) -> None:
    one, two = compared()
    mac = two.confirm()[0]
    one.confirm()
    one.receive(mac.type, {**mac.content, drop: {} if drop == "mac" else "AAAA"})
    assert one.cancel_code == "m.key_mismatch"


def test_it_ends_after_ten_minutes() -> None:
    one, two = compared()
    assert one.tick(NOW + TIMEOUT) == []
    talk(one, two, one.tick(NOW + TIMEOUT + 1), to=two)
    assert two.cancel_code == "m.timeout"
    assert one.tick(NOW + 2 * TIMEOUT) == []


def test_a_message_that_comes_twice_does_no_harm() -> None:
    one, two = pair()
    waiting = deque((one, message) for message in two.ready())
    while waiting:
        receiver, message = waiting.popleft()
        other = one if receiver is two else two
        waiting.extend((other, reply) for reply in receiver.receive(message.type, message.content))
        assert receiver.receive(message.type, message.content) == []
    agreed(one, two)
    assert one.state == two.state == "done"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"method": "m.other"}, "m.unknown_method"),
        ({"hashes": ["md5"]}, "m.unknown_method"),
        ({"key_agreement_protocols": ["curve25519"]}, "m.unknown_method"),
        ({"message_authentication_codes": ["hmac"]}, "m.unknown_method"),
        ({"short_authentication_string": "emoji"}, "m.unknown_method"),
        ({"more": 0.5}, "m.invalid_message"),
    ],
)
def test_a_start_that_we_cannot_follow_is_cancelled(change: dict[str, Any], code: str) -> None:
    one, two = pair()
    start = one.receive("m.key.verification.ready", two.ready()[0].content)[0]
    replies = two.receive(start.type, {**start.content, **change})
    assert replies[0].content["code"] == two.cancel_code == code
    assert code in REASONS


def test_sides_without_pictures_compare_numbers() -> None:
    one, two = pair()
    start = one.receive("m.key.verification.ready", two.ready()[0].content)[0]
    start.content["short_authentication_string"] = ["decimal"]
    talk(one, two, [start], to=two)
    assert one.string == two.string
    assert one.string is not None
    assert one.string.emoji == ()


KINDS = ["request", "ready", "start", "accept", "key", "mac", "done", "cancel", "other"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ["methods", "method", "key", "mac", "keys", "commitment", "code", "hash", "hashes", "from_device"]
contents = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6)


@given(st.integers(0, 7), st.lists(st.tuples(st.sampled_from(KINDS), contents), max_size=5), st.booleans())
def test_no_message_raises_or_verifies(steps: int, hostile: list[tuple[str, Any]], asked: bool) -> None:
    one, two = pair()
    victim = one if asked else two
    waiting = deque((one, message) for message in two.ready())
    for _ in range(steps):
        if waiting:
            receiver, message = waiting.popleft()
            other = one if receiver is two else two
            waiting.extend((other, reply) for reply in receiver.receive(message.type, message.content))
    for kind, content in hostile:
        victim.receive(f"m.key.verification.{kind}", content)
        victim.confirm()
    assert victim.verified == ()


def established() -> tuple[Authentication, Authentication]:
    a, b = Sas(), Sas()
    key_a, key_b = a.public_key.to_base64(), b.public_key.to_base64()
    return (
        Authentication(a.diffie_hellman(Curve25519PublicKey.from_base64(key_b)), "txn", sas.OLD_MAC),
        Authentication(b.diffie_hellman(Curve25519PublicKey.from_base64(key_a)), "txn", sas.OLD_MAC),
    )


@pytest.mark.parametrize("as_of_old", [False, True])
def test_the_old_way_of_macs_is_understood_with_and_without_its_mistake(as_of_old: bool) -> None:
    one, two = established()
    macs, keys = one.macs(ALICE, BOB, as_of_old=as_of_old)
    assert set(two.verified(ALICE, BOB, macs, keys) or ()) == set(ALICE.keys.values())
    assert two.writes_as_of_old(ALICE, BOB, macs, keys) is as_of_old
    assert (
        replace(two, method=sas.MAC).verified(ALICE, BOB, macs, keys) is (None if as_of_old else not None)
        or not as_of_old
    )


def test_the_table_of_emoji_is_that_of_the_spec() -> None:
    require("shared-data")
    table = json.loads((SHARED_DATA / "matrix-spec" / "data-definitions" / "sas-emoji.json").read_text())
    assert tuple((each["emoji"], each["description"]) for each in table) == sas.EMOJI


def test_strings_are_those_that_the_spec_reckons() -> None:
    """The bits of the spec's formulas, from vodozemac's emoji (42 bits) and numbers (39 of the same)."""
    a, b = Sas(), Sas()
    secret = a.diffie_hellman(b.public_key)
    sides = (ALICE, a.public_key.to_base64()), (BOB, b.public_key.to_base64())
    string = sas.short_string(secret, *sides, "txn")
    bits = "".join(f"{sas.EMOJI.index(pair):06b}" for pair in string.emoji)
    assert string.numbers == tuple(int(bits[i : i + 13], 2) + 1000 for i in (0, 13, 26))
    assert str(string).endswith(")")


def test_a_commitment_is_the_hash_that_the_spec_says() -> None:
    import hashlib

    expected = hashlib.sha256(b'KEY{"a":1,"b":[]}').digest()
    start: Any = {"b": [], "a": 1}
    made = sas.commitment("KEY", start)
    assert b64decode(made + "=") == expected
    assert sas.is_committed(made, "KEY", start)
    assert sas.is_committed(expected.hex(), "KEY", start)  # as matrix-nio spells it
    assert not sas.is_committed(made, "KEZ", start)
    assert not sas.is_committed(None, "KEY", start)
