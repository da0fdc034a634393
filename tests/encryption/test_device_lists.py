"""Other people's devices: asked for when they change, believed as far as signatures go."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from matrixdata.encryption import device_keys, device_lists, outgoing
from matrixdata.encryption.port import MEGOLM, OLM, SyncChanges
from matrixdata.encryption.signing import signed
from tests.encryption.exchange import HOUR, SECOND, Exchange, Peer
from tests.faults.harness import Break, fault

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWERS = "matrixdata/encryption/device_answers.py"
ALICE, BOB = "@alice:one.example", "@bob:one.example"


def queried(requests: list[Any]) -> list[list[str]]:
    return [sorted(json.loads(it.body)["device_keys"]) for it in requests if it.kind == "query"]


def test_a_changed_list_is_asked_for_once(alice: Peer, bob: Peer, peer: Callable[[str, str], Peer]) -> None:
    alice.settle()
    tablet = peer(BOB, "TABLET")
    alice.sync()
    assert queried(alice.flush()) == [[BOB]]
    assert alice.sees(tablet) == tablet.device()
    assert alice.sees(bob) == bob.device()
    alice.sync()
    assert queried(alice.flush()) == []


def test_an_answer_to_an_older_question_is_none(alice: Peer, bob: Peer) -> None:
    alice.do(alice.engine.mark_stale, [BOB])
    [request] = alice.do(device_lists.ask)
    answer = alice.exchange.answer(alice.me, request)
    alice.do(alice.engine.receive, SyncChanges(changed=(BOB,)))
    alice.do(alice.engine.answered, request.id, answer)

    assert alice.do(device_lists.stale_among, [BOB]) == {BOB}
    assert queried(alice.flush()) == [[BOB]]
    assert alice.do(device_lists.stale_among, [BOB]) == set()
    assert alice.sees(bob) is not None


def test_while_one_question_is_under_way_it_is_not_asked_again(alice: Peer) -> None:
    first = alice.do(device_lists.ask, [BOB])
    assert alice.do(device_lists.ask, [BOB, ALICE]) == first
    assert len(alice.do(outgoing.under_way, "query")) == 1


def test_an_answer_twice_is_one(alice: Peer, bob: Peer) -> None:
    alice.do(alice.engine.mark_stale, [BOB])
    [request] = alice.do(device_lists.ask)
    answer = alice.exchange.answer(alice.me, request)
    before = alice.do(device_lists.devices_of, [BOB])
    for _ in range(2):
        alice.do(alice.engine.answered, request.id, answer)

    assert alice.do(device_lists.devices_of, [BOB]) == before == [bob.device()]


def test_many_users_are_asked_for_in_several_requests(alice: Peer) -> None:
    alice.do(alice.engine.track, [f"@user{n}:one.example" for n in range(600)])

    assert [len(users) for users in queried(alice.flush())] == [250, 250, 100]


def test_users_of_a_server_that_is_down_are_asked_for_later_and_do_not_hold_up_the_rest(
    alice: Peer, bob: Peer, peer: Callable[[str, str], Peer]
) -> None:
    carol = peer("@carol:two.example", "C")
    alice.exchange.down = {"two.example"}
    alice.know("@carol:two.example", BOB)

    assert alice.do(device_lists.stale_among, ["@carol:two.example", BOB]) == set()
    assert alice.sees(carol) is None
    assert alice.sees(bob) is not None
    alice.clock.advance(70 * SECOND)
    assert queried(alice.flush()) == [["@carol:two.example"]]
    alice.clock.advance(70 * SECOND)  # each failure doubles the pause
    assert queried(alice.flush()) == []

    alice.exchange.down = set()
    alice.do(alice.engine.receive, SyncChanges(changed=("@carol:two.example",)))  # it is up
    alice.flush()
    assert alice.sees(carol) == carol.device()


def test_a_question_that_the_server_refuses_is_asked_in_halves(alice: Peer, bob: Peer) -> None:
    alice.do(alice.engine.track, ["bad", "@carol:two.example"])
    alice.do(alice.engine.mark_stale)
    for _ in range(6):
        for request in alice.do(alice.engine.outgoing):
            if b'"bad"' in request.body:
                alice.do(alice.engine.refused, request.id, "M_INVALID_PARAM")
            else:
                alice.deliver(request)

    assert alice.do(alice.engine.outgoing) == ()
    assert alice.do(device_lists.stale_among, [BOB, "@carol:two.example"]) == set()
    assert alice.sees(bob) is not None


def test_a_device_that_is_gone_keeps_its_place(alice: Peer, bob: Peer) -> None:
    key = bob.device().curve25519
    alice.exchange.devices[BOB, "DESK"].device_keys = None
    alice.do(alice.engine.mark_stale, [BOB])
    alice.flush()

    assert alice.do(device_lists.devices_of, [BOB]) == []
    gone = alice.do(device_lists.by_key, key)
    assert gone is not None
    assert (gone.device_id, gone.deleted) == ("DESK", True)


def test_who_left_is_not_followed_any_more_and_is_asked_for_when_met_again(alice: Peer, bob: Peer) -> None:
    alice.do(alice.engine.receive, SyncChanges(left=(BOB, ALICE)))
    alice.do(alice.engine.receive, SyncChanges(changed=(BOB,)))
    assert queried(alice.flush()) == []
    assert alice.do(device_lists.stale_among, [BOB, ALICE]) == {BOB}

    alice.know(BOB)
    assert alice.sees(bob) == bob.device()


def test_a_blocked_device_says_so_also_after_it_was_listed_again(alice: Peer, bob: Peer) -> None:
    alice.do(device_lists.block, BOB, "DESK", True)
    alice.do(alice.engine.mark_stale)
    alice.flush()

    [device] = alice.do(device_lists.devices_of, [BOB])
    assert device.blocked
    assert device.keys == bob.device().keys


# -- lists with lies in them (A8, A10) ----------------------------------------------------------------------
def resigned(peer: Peer, **changes: Any) -> dict[str, Any]:
    keys: dict[str, Any] = {**copy.deepcopy(dict(peer.device().keys)), **changes, "signatures": {}}
    return peer.do(device_keys.sign, keys)  # type: ignore[no-any-return]  # `do` runs anything


def new_keys(exchange: Exchange, user_id: str, device_id: str) -> dict[str, Any]:
    return dict(Peer(exchange, user_id, device_id).device().keys)


def poison(exchange: Exchange, alice: Peer, bob: Peer, lie: str) -> dict[str, Any]:  # noqa: PLR0911, PLR0912  one for each lie
    """What Bob's server lists as his device DESK or another one."""
    keys: dict[str, Any] = copy.deepcopy(dict(bob.device().keys))
    match lie:
        case "other keys for a known device":
            return {"DESK": new_keys(exchange, BOB, "DESK")}
        case "other identity key, same fingerprint":
            other = new_keys(exchange, BOB, "DESK")["keys"]["curve25519:DESK"]
            return {"DESK": resigned(bob, keys={**keys["keys"], "curve25519:DESK": other})}
        case "another user's device":
            return {"DESK": keys, "PHONE": dict(alice.device().keys)}
        case "a device under another id":
            return {"DESK": keys, "OTHER": keys}
        case "a device under two names":
            keys_of_both = {
                f"{kind}:OTHER": keys["keys"][f"{kind}:DESK"] for kind in ("curve25519", "ed25519")
            }
            twin: dict[str, Any] = {**keys, "device_id": "OTHER", "keys": keys_of_both, "signatures": {}}
            account = bob.do(device_keys.load)
            twin = signed(twin, BOB, "ed25519:OTHER", lambda text: account.sign(text).to_base64())
            return {"DESK": keys, "OTHER": twin}
        case "a device that says it is another's":
            return {"DESK": keys, "NEW": resigned(Peer(exchange, BOB, "NEW"), user_id=ALICE)}
        case "a copy of our own device":
            mine = {"curve25519:OTHER": alice.device().curve25519, "ed25519:OTHER": bob.device().ed25519}
            other_peer = Peer(exchange, BOB, "OTHER")
            mine["ed25519:OTHER"] = other_peer.device().ed25519
            return {"DESK": keys, "OTHER": resigned(other_peer, keys=mine)}
        case "not signed":
            return {"DESK": keys, "NEW": {**new_keys(exchange, BOB, "NEW"), "signatures": {}}}
        case "signed by another device":
            new = new_keys(exchange, BOB, "NEW")
            new["signatures"] = {BOB: {"ed25519:NEW": keys["signatures"][BOB]["ed25519:DESK"]}}
            return {"DESK": keys, "NEW": new}
        case "changed after signing":
            return {
                "DESK": keys,
                "NEW": {**new_keys(exchange, BOB, "NEW"), "algorithms": [OLM, MEGOLM, "m.x"]},
            }
        case "two devices with one key":
            one = Peer(exchange, BOB, "NEW")
            two = Peer(exchange, BOB, "NEWER")
            same = one.device().curve25519
            both = {"curve25519:NEWER": same, "ed25519:NEWER": two.device().ed25519}
            return {"DESK": keys, "NEW": dict(one.device().keys), "NEWER": resigned(two, keys=both)}
        case "a key spelled in another way":
            new = Peer(exchange, BOB, "NEW")
            spelled = {**new.device().keys["keys"], "curve25519:NEW": bob.device().curve25519 + "="}  # type: ignore[dict-item]  # an object
            return {"DESK": keys, "NEW": resigned(new, keys=spelled)}
        case "no device at all":
            hostile: list[Any] = [
                None,
                5,
                "x",
                [],
                {},
                {"keys": 7},
                {"keys": {"ed25519:x": {}}},
                {"user_id": BOB},
            ]
            return {"DESK": keys, **{f"X{n}": value for n, value in enumerate(hostile)}}
    raise AssertionError(lie)


LIES = (
    *("other keys for a known device", "other identity key, same fingerprint", "another user's device"),
    *("a device under two names", "a device that says it is another's"),
    *("a device under another id", "a copy of our own device", "not signed", "signed by another device"),
    *(
        "changed after signing",
        "two devices with one key",
        "a key spelled in another way",
        "no device at all",
    ),
)


@fault(
    "T-A8",
    broken=(
        Break(ANSWERS, 'keys.get("user_id") != user_id or keys.get("device_id") != device_id', "False"),
        Break(ANSWERS, 'if not is_signed(keys, user_id, f"ed25519:{device_id}", ed25519):', "if False:"),
        Break(
            ANSWERS,
            "if holder is None and _was_known(tx, device) and not _may_change(tx, device, owner):",
            "if False:",
        ),
        Break(
            ANSWERS,
            "if holder is not None and (holder.user_id, holder.device_id) != (device.user_id, device.device_id):",
            "if False:",
        ),
        Break(ANSWERS, "if not plain or not is_sane(keys):", "if False:"),
    ),
)
@pytest.mark.parametrize("lie", LIES)
def test_devices_that_contradict_themselves_or_what_is_known_are_ignored(
    alice: Peer, bob: Peer, lie: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = alice.sees(bob)
    listed = poison(Exchange(), alice, bob, lie)
    alice.do(alice.engine.mark_stale, [BOB])
    [request] = alice.do(device_lists.ask)
    alice.do(alice.engine.answered, request.id, {"device_keys": {BOB: listed}, "failures": {}})

    assert "ignored device" in caplog.text
    known = {it.device_id for it in alice.do(device_lists.devices_of, [BOB])}
    assert known == ({"DESK", "NEW"} if lie == "two devices with one key" else {"DESK"})
    assert alice.sees(bob) == before
    assert alice.do(device_lists.by_key, alice.device().curve25519) == alice.device()


def test_keys_that_nobody_asked_for_are_not_looked_at(alice: Peer, bob: Peer) -> None:
    carol = new_keys(Exchange(), "@carol:two.example", "C")
    alice.do(alice.engine.mark_stale, [BOB])
    [request] = alice.do(device_lists.ask)
    listed = {BOB: {"DESK": dict(bob.device().keys)}, "@carol:two.example": {"C": carol}}
    alice.do(alice.engine.answered, request.id, {"device_keys": listed})

    assert alice.do(device_lists.devices_of, ["@carol:two.example"]) == []


def test_a_server_cannot_bring_back_a_device_with_other_keys(alice: Peer, bob: Peer) -> None:
    test_a_device_that_is_gone_keeps_its_place(alice, bob)
    alice.exchange.devices[BOB, "DESK"].device_keys = new_keys(Exchange(), BOB, "DESK")
    alice.do(alice.engine.mark_stale, [BOB])
    alice.flush()
    assert alice.do(device_lists.devices_of, [BOB]) == []

    alice.exchange.devices[BOB, "DESK"].device_keys = dict(bob.device().keys)
    alice.do(alice.engine.mark_stale, [BOB])
    alice.flush()
    assert alice.sees(bob) == bob.device()


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"device_keys": []},
        {"device_keys": {BOB: "x"}, "failures": 7, "master_keys": {BOB: []}},
        {
            "device_keys": None,
            "failures": {"one.example": {}},
            "self_signing_keys": {BOB: {"keys": {"a": 1}}},
        },
    ],
)
def test_an_answer_of_another_shape_changes_nothing(alice: Peer, bob: Peer, answer: dict[str, Any]) -> None:
    alice.do(alice.engine.mark_stale, [BOB])
    [request] = alice.do(device_lists.ask)
    alice.do(alice.engine.answered, request.id, answer)
    alice.clock.advance(2 * HOUR)
    alice.flush()

    assert alice.sees(bob) == bob.device()


def test_a_device_list_without_end_is_cut(alice: Peer, caplog: pytest.LogCaptureFixture) -> None:
    alice.do(alice.engine.track, [BOB])
    [request] = alice.do(device_lists.ask)
    alice.do(alice.engine.answered, request.id, {"device_keys": {BOB: {f"D{n}": {} for n in range(1_500)}}})

    assert "only the first 1000" in caplog.text
