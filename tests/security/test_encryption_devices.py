"""What a homeserver does with the devices, identities and backups of an encrypted collection's members (A7 to A14).

Its lies are told on the way to Alice, or to Bob; what they then send is looked at, not what they think.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

import matrixdata as md
from matrixdata.encryption import backup, key_file
from tests.e2ee.devices import device
from tests.encryption.exchange import Exchange, Peer
from tests.encryption.rooms import Owner
from tests.faults.harness import Break, fault
from tests.security.stage import (
    ENCRYPTED,
    Session,
    Stage,
    causes,
    records,
    rewriting,
    staged,
    tell,
    temps,
    value,
)
from tests.servers import encoded, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers import Proxy, RawUser, TestServer

pytestmark = pytest.mark.server

DEVICE_ANSWERS = "matrixdata/encryption/device_answers.py"
DECRYPTION = "matrixdata/encryption/decryption.py"
RECIPIENTS = "matrixdata/encryption/recipients.py"
INBOUND = "matrixdata/encryption/inbound.py"
PROVENANCE = "matrixdata/encryption/provenance.py"


def listed(by: RawUser, user_id: str) -> dict[str, Any]:
    """The device keys of a user, as the server has them."""
    return by.call("POST", "keys/query", {"device_keys": {user_id: []}})["device_keys"].get(user_id, {})


def made_up(user_id: str, device_id: str) -> dict[str, Any]:
    """Device keys of an attacker's, well signed by themselves."""
    exchange = Exchange()
    Peer(exchange, user_id, device_id).flush()
    keys = exchange.devices[user_id, device_id].device_keys
    assert keys is not None
    return keys


def given_keys(network: Proxy) -> set[tuple[str, str]]:
    """Who was sent something encrypted by whoever is behind this network: device id, and the key it was for."""
    found = set()
    for seen in network.seen:
        if "/sendToDevice/m.room.encrypted/" in seen.path:
            for devices in json.loads(seen.body)["messages"].values():
                for device_id, content in devices.items():
                    found |= {(device_id, key) for key in content["ciphertext"]}
    return found


def asked_again(stage: Stage, change: Callable[[], Any]) -> None:
    """Something changes about Bob's devices, and Alice has asked which he has."""
    temps(stage.mine)  # from now on she hears of such things
    before = sum("/keys/query" in seen.path for seen in stage.wire.seen)
    change()
    wait_until(lambda: sum("/keys/query" in seen.path for seen in stage.wire.seen) > before)
    temps(stage.mine)


@fault(
    "T-A8",
    broken=Break(
        DEVICE_ANSWERS,
        "fault = device if isinstance(device, str) else _contradiction(tx, device, given)",
        "fault = device if isinstance(device, str) else None",
    ),
)
def test_a_device_that_is_not_what_it_was_or_says_gets_no_key(server: TestServer) -> None:
    stage = staged(server)
    bob = stage.bob.user_id
    stage.published(1.5)
    [(device_id, genuine)] = listed(stage.hers, bob).items()
    curve = genuine["keys"][f"curve25519:{device_id}"]
    lies = {device_id: made_up(bob, device_id)}
    lies["OTHERS"] = made_up(stage.mallory.me.user_id, "OTHERS")
    lies["BROKEN"] = {**made_up(bob, "BROKEN"), "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.new"]}
    twin = Peer(Exchange(), bob, "TWIN")
    lies["TWIN"] = made_up(bob, "TWIN")
    lies["TWIN"]["keys"]["curve25519:TWIN"] = curve
    lies["TWIN"] = twin.do(_signed_as_device, lies["TWIN"])

    def lying(_seen: object, answer: dict[str, Any]) -> None:
        if bob in answer.get("device_keys", {}):
            answer["device_keys"][bob].update(lies)

    stage.wire.fault = rewriting(lying, "/keys/query")
    tablet = server.raw(stage.names[1])
    asked_again(stage, lambda: device(server, "", user=tablet))
    stage.published(2.5)

    hers = listed(stage.hers, stage.mallory.me.user_id)
    honest = {**listed(stage.hers, bob), **hers}
    real = {(name, keys["keys"][f"curve25519:{name}"]) for name, keys in honest.items()}
    assert given_keys(stage.wire) == real
    wait_until(lambda: temps(stage.theirs) == [1.5, 2.5])


def _signed_as_device(tx: Any, keys: dict[str, Any]) -> dict[str, Any]:
    """Those keys, under the fingerprint and signature of the engine's own device."""
    from matrixdata.encryption import device_keys

    keys["keys"][f"ed25519:{tx.me.device_id}"] = device_keys.identity_keys(tx)[1]
    return dict(device_keys.sign(tx, {name: it for name, it in keys.items() if name != "signatures"}))


@fault(
    "T-A9",
    "T-A10",
    broken=Break(
        RECIPIENTS,
        'return None if standing in _GIVEN[rule.policy] else ("m.unverified", _WHY.get(standing, standing))',
        "return None",
    ),
)
def test_a_device_that_a_server_slips_in_gets_no_key_and_is_not_read(server: TestServer) -> None:
    stage = staged(server, trust="cross-signed")
    bob = stage.bob.user_id
    answer = stage.hers.call("POST", "keys/query", {"device_keys": {bob: []}})
    [master] = answer["master_keys"][bob]["keys"].values()
    lies = {name: made_up(bob, name) for name in ("SPY", master)}

    def lying(_seen: object, answer: dict[str, Any]) -> None:
        if bob in answer.get("device_keys", {}):
            answer["device_keys"][bob].update(lies)

    stage.wire.fault = rewriting(lying, "/keys/query")
    asked_again(stage, lambda: device(server, "", user=server.raw(stage.names[1])))
    stage.published(1.5)
    own = Session(stage.room_id)
    tell(stage.mallory, bob, "m.room_key", own.room_key())
    hers = stage.member.send(stage.room_id, own.encrypt(value(666)), ENCRYPTED)

    assert temps(stage.theirs) == [1.5]
    assert causes(stage.theirs, hers) == ["untrusted"]
    [(device_id, _)] = answer["device_keys"][bob].items()
    assert {name for name, _ in given_keys(stage.wire)} == {device_id}
    standing = {it.device_id: it.standing for it in stage.alice.keys.devices(bob)}
    assert (standing["SPY"], standing[device_id]) == ("unsigned", "cross-signed")
    assert master not in standing  # it would be signed in the place of the person, were it verified
    with pytest.raises((md.NotFound, md.NotVerified)):
        stage.alice.keys.verify(bob, device_id=master)


@fault(
    "T-A9",
    broken=Break(
        RECIPIENTS,
        "    if changed:\n        raise DeviceUntrusted",
        "    if False:\n        raise DeviceUntrusted",
    ),
)
def test_nothing_is_sent_to_an_identity_that_changed_until_somebody_says_so(server: TestServer) -> None:
    stage = staged(server, trust="cross-signed")
    bob = stage.bob.user_id
    stage.published(1.5)
    [(device_id, keys)] = listed(stage.hers, bob).items()
    exchange = Exchange()
    exchange.devices[bob, "SPY"].device_keys = made_up(bob, "SPY")
    exchange.devices[bob, device_id].device_keys = keys
    owner = Owner(exchange, bob).publish()
    owner.sign(*(Peer(exchange, bob, name) for name in ("SPY", device_id)))

    def lying(_seen: object, answer: dict[str, Any]) -> None:
        if bob in answer.get("device_keys", {}):
            answer["device_keys"][bob] = {
                name: it.device_keys for (_, name), it in exchange.devices.items() if it.device_keys
            }
            for usage, key in exchange.identities[bob].items():
                answer[f"{usage}_keys"][bob] = key

    stage.wire.fault = rewriting(lying, "/keys/query")
    asked_again(stage, lambda: device(server, "", user=server.raw(stage.names[1])))
    sent, given = len(stage.hers.timeline(stage.room_id)), given_keys(stage.wire)
    with pytest.raises(md.DeviceUntrusted) as caught:
        stage.mine.publish({"temp": 2.5}, timeout=30)

    assert caught.value.user_ids == (bob,)
    assert "acknowledge" in str(caught.value)
    assert len(stage.hers.timeline(stage.room_id)) == sent
    assert given_keys(stage.wire) == given
    assert stage.alice.status().queued == 1
    stage.wire.fault = lambda _: None  # had Bob really begun anew, his server would say so for good
    stage.alice.keys.acknowledge(bob)
    wait_until(lambda: temps(stage.theirs) == [1.5, 2.5])


@fault(
    "T-A11",
    broken=(
        Break(RECIPIENTS, "if not rule.allows(device.user_id, tx.me.user_id):", "if False:"),
        Break(DECRYPTION, "if not source.rule.allows(sender, source.own_user):", "if False:"),
    ),
)
def test_whom_a_server_or_member_adds_is_seen_and_gets_nothing_where_members_are_named(
    server: TestServer,
) -> None:
    stage = staged(server)
    bob, mallory = stage.bob.user_id, stage.mallory.me.user_id
    stage.published(0.5)
    assert len(given_keys(stage.wire)) == 2
    stage.mine.set_trust("all", members=[bob])
    stage.theirs.set_trust("all", members=[stage.alice.user_id])
    stage.wire.seen.clear()
    stage.published(1.5)
    own = Session(stage.room_id)
    tell(stage.mallory, bob, "m.room_key", own.room_key())
    hers = stage.member.send(stage.room_id, own.encrypt(value(666)), ENCRYPTED)

    assert temps(stage.theirs) == [0.5, 1.5]
    assert causes(stage.theirs, hers) == ["untrusted"]
    assert {name for name, _ in given_keys(stage.wire)} == set(listed(stage.hers, bob))
    assert mallory in {member.user_id for member in stage.mine.members()}


@fault(
    "T-A7",
    broken=Break(
        INBOUND, "if ours is None or theirs is None or ours.to_base64() != theirs.to_base64():", "if False:"
    ),
)
def test_a_key_file_cannot_put_another_ratchet_in_a_sessions_place(server: TestServer, tmp_path: Any) -> None:
    name = server.name("alice")
    alice, bob = server.connect(name), server.connect(server.name("bob"))
    mine = alice.create_collection("readings", trust="all")
    mine.publish({"temp": 0.5})
    server.raw(name).invite(mine.room_id, bob.user_id)  # as a client does it that offers no keys of the past
    assert temps(mine) == [0.5]  # and so heard of it
    mine.publish({"temp": 1.5})
    theirs = bob.collection(mine.room_id, trust="all")
    assert temps(theirs) == [1.5]
    alice.keys.export_file(tmp_path / "keys.txt", "open sesame")
    [genuine] = key_file.read((tmp_path / "keys.txt").read_text(), "open sesame")
    raw = bytearray(base64.b64decode(f"{genuine['session_key']}=="))
    raw[5] ^= 1  # a ratchet that seems to reach further back than what Bob was given
    other = {**genuine, "session_key": base64.b64encode(bytes(raw)).decode().rstrip("=")}
    text = key_file.written([other], "open sesame", salt=b"s" * 16, iv=b"i" * 16, rounds=1000)
    (tmp_path / "other.txt").write_text(text)

    assert bob.keys.import_file(tmp_path / "other.txt", "open sesame") == 0
    mine.publish({"temp": 2.5})
    assert temps(theirs) == [1.5, 2.5]


@fault(
    "T-A13",
    broken=Break(
        PROVENANCE,
        'device.device_id if device else None, "unauthenticated")',
        'device.device_id if device else None, "verified")',
    ),
)
def test_what_a_server_put_into_a_backup_proves_nothing(server: TestServer) -> None:
    stage = staged(server, trust="cross-signed")
    recovery_key = stage.alice.keys.set_up_recovery()
    stage.published(1.5)
    wait_until(lambda: stage.alice.keys.status().backed_up == stage.alice.keys.status().sessions > 0)
    kept = stage.hers.call("GET", "room_keys/version")
    [(_, bobs)] = listed(stage.hers, stage.bob.user_id).items()
    curve, ed = (key for _, key in sorted(bobs["keys"].items()))
    session = Session(stage.room_id)
    exported = {**session.forwarded(curve, ed), "sender_claimed_keys": {"ed25519": ed}}
    data = backup.encrypted(kept["auth_data"]["public_key"], exported, first_index=0, verified=True)
    path = encoded("room_keys", "keys", stage.room_id, str(exported["session_id"]))
    stage.hers.call("PUT", path, data, version=kept["version"])
    forged = server.raw(stage.names[1]).send(stage.room_id, session.encrypt(value(666)), ENCRYPTED)

    account = server.account(stage.names[0], store="second")
    second = md.connect(**account, recovery_key=recovery_key)
    server.open.append(second)
    assert causes(second.collection(stage.room_id, trust="verified"), forged) == ["untrusted"]
    assert second.keys.status().identity == "held"


def test_past_keys_that_somebody_offers_who_invited_nobody_are_not_even_fetched(server: TestServer) -> None:
    stage = staged(server, trust="all")
    session = Session(stage.room_id)
    forged = stage.forge(session.encrypt(value(666)))
    file = {"v": "v2", "url": "mxc://evil.example/keys", "key": {}, "iv": "", "hashes": {}}
    tell(stage.mallory, stage.bob.user_id, "m.room_key_bundle", {"room_id": stage.room_id, "file": file})
    stage.heard()

    assert causes(stage.theirs, forged) == ["no_key"]
    assert [seen.path for seen in stage.network.seen if "/media/" in seen.path] == []
    assert 666 not in [record.value["temp"] for record in records(stage.theirs)]
