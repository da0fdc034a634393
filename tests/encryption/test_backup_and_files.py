"""The server-side backup and encrypted files, with others' vectors."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vodozemac import ExportedSessionKey, InboundGroupSession

from matrixdata.encryption import attachments, backup, cross_signing, stored_secrets
from matrixdata.encryption.signing import is_signed
from matrixdata.errors import KeyMissing, Tampered
from tests.encryption import vectors
from tests.encryption.account import opened

PRIVATE = b64decode(vectors.BACKUP_KEY)


def test_a_backup_of_others_is_read() -> None:
    session = backup.decrypted(PRIVATE, "!room:id", str(vectors.SESSION["session_id"]), vectors.BACKED_UP)
    assert session == vectors.SESSION
    assert backup.public_key(PRIVATE) == vectors.BACKUP_PUBLIC
    imported = InboundGroupSession.import_session(ExportedSessionKey(str(session["session_key"])))
    assert imported.session_id == vectors.SESSION["session_id"]


def test_another_key_reads_nothing() -> None:
    other = b64decode(vectors.BACKUP_KEY_OF_ANOTHER + "=")
    assert backup.decrypted(other, "!room:id", "id", vectors.BACKED_UP) is None


def test_what_we_back_up_we_can_restore_and_it_says_what_the_server_compares() -> None:
    exported: Any = {**vectors.SESSION, "forwarding_curve25519_key_chain": ["one"]}
    data = backup.encrypted(vectors.BACKUP_PUBLIC, exported, first_index=7, verified=True)
    assert (data["first_message_index"], data["forwarded_count"], data["is_verified"]) == (7, 1, True)
    assert backup.decrypted(PRIVATE, "!room:id", str(exported["session_id"]), data) == exported


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, json_values, json_values)
def test_whatever_a_backup_holds_raises_nothing(ciphertext: Any, mac: Any, ephemeral: Any) -> None:
    data = {"session_data": {"ciphertext": ciphertext, "mac": mac, "ephemeral": ephemeral}}
    assert backup.decrypted(PRIVATE, "!r:x", "s", data) is None
    assert backup.decrypted(PRIVATE, "!r:x", "s", ciphertext) is None


def version(auth_data: Any) -> dict[str, Any]:
    return {"algorithm": backup.ALGORITHM, "version": "7", "auth_data": auth_data}


def test_a_backup_is_written_to_only_when_its_key_is_ours() -> None:
    tx = opened()
    cross_signing.create(tx)
    master = cross_signing.public_key(stored_secrets.get(tx, stored_secrets.MASTER) or b"")
    ours = backup.description(tx, PRIVATE)["auth_data"]

    signed = backup.adopt(tx, version(ours), master=master)
    assert signed is not None
    assert signed.trusted
    assert not signed.has_secret

    # Threat A13: the server puts a backup of its own there, with the signature of the old one.
    swapped = backup.adopt(tx, version({**ours, "public_key": "A" * 43}), master=master)  # type: ignore[dict-item]  # JSON
    assert swapped is not None
    assert not swapped.trusted
    unsigned = backup.adopt(tx, version({"public_key": vectors.BACKUP_PUBLIC}), master=master)
    assert unsigned is not None
    assert not unsigned.trusted

    stored_secrets.put(tx, stored_secrets.BACKUP, PRIVATE)
    known = backup.adopt(tx, version({"public_key": vectors.BACKUP_PUBLIC}), master=None)
    assert known is not None
    assert known.trusted
    assert backup.current(tx) == known
    backup.forget(tx)
    assert backup.current(tx) is None


@given(json_values)
def test_whatever_describes_a_backup_raises_nothing(value: Any) -> None:
    tx = opened()
    assert backup.adopt(tx, version(value), master="x") is None
    assert (
        backup.adopt(
            tx, {"algorithm": value, "version": value, "auth_data": {"public_key": value}}, master=None
        )
        is None
    )
    assert backup.current(tx) is None


# -- cross-signing -------------------------------------------------------------------------------------------
def test_our_keys_are_signed_as_others_sign_theirs() -> None:
    tx = opened(vectors.ALICE)
    for name, usage in cross_signing.USAGE.items():
        stored_secrets.put(tx, name, vectors.ALICE_SEEDS[usage])
    body: Any = cross_signing.upload(tx)

    assert body == {
        f"{usage}_key": {
            "user_id": vectors.ALICE,
            "usage": [usage],
            "keys": {f"ed25519:{public}": public},
            **(
                {}
                if usage == "master"
                else {
                    "signatures": {
                        vectors.ALICE: {
                            f"ed25519:{vectors.ALICE_PUBLIC['master']}": vectors.ALICE_SIGNATURES[usage]
                        }
                    }
                }
            ),
        }
        for usage, public in vectors.ALICE_PUBLIC.items()
    }


def test_signatures_of_devices_and_users_are_the_keys_that_they_should_be() -> None:
    tx = opened(vectors.ALICE)
    cross_signing.create(tx)
    publics = {
        usage: cross_signing.public_key(stored_secrets.get(tx, name) or b"")
        for name, usage in cross_signing.USAGE.items()
    }
    device: Any = vectors.ALICE_DEVICE
    signed: Any = cross_signing.sign_device(tx, device)[vectors.ALICE]
    key = publics["self_signing"]
    assert is_signed(signed["test_device"], vectors.ALICE, f"ed25519:{key}", key)
    assert list(signed["test_device"]["signatures"][vectors.ALICE]) == [f"ed25519:{key}"]

    theirs: Any = {"user_id": "@bob:xyz", "usage": ["master"], "keys": {"ed25519:MASTER": "MASTER"}}
    signed = cross_signing.sign_user(tx, "@bob:xyz", theirs)["@bob:xyz"]
    key = publics["user_signing"]
    assert is_signed(signed["MASTER"], vectors.ALICE, f"ed25519:{key}", key)


def test_private_keys_are_taken_only_where_they_fit_and_asked_for_only_where_they_are() -> None:
    tx = opened(vectors.ALICE)
    seed = vectors.ALICE_SEEDS["master"]
    secret = cross_signing.encoded(seed)
    with pytest.raises(KeyMissing, match="recover"):
        cross_signing.upload(tx)
    assert not cross_signing.take(tx, stored_secrets.MASTER, secret, vectors.ALICE_PUBLIC["self_signing"])
    assert not cross_signing.take(tx, stored_secrets.MASTER, secret, None)
    assert not cross_signing.take(tx, stored_secrets.MASTER, "nonsense", vectors.ALICE_PUBLIC["master"])
    assert stored_secrets.held(tx) == frozenset()
    assert cross_signing.take(tx, stored_secrets.MASTER, secret + "=", vectors.ALICE_PUBLIC["master"])
    assert stored_secrets.held(tx) == {stored_secrets.MASTER}
    assert cross_signing.is_ours(tx, stored_secrets.MASTER, vectors.ALICE_PUBLIC["master"])
    stored = b"".join(row[0] for row in tx.connection.execute("SELECT sealed FROM secret"))
    assert seed not in stored


# -- encrypted files -----------------------------------------------------------------------------------------
def test_a_file_of_others_opens() -> None:
    info: Any = vectors.ATTACHMENT_INFO
    assert attachments.decrypted(vectors.ATTACHMENT, info) == vectors.ATTACHMENT_CLEAR


@given(st.binary(max_size=2000), st.binary(min_size=32, max_size=32), st.binary(min_size=8, max_size=8))
def test_a_file_comes_back_and_any_change_to_it_is_noticed(data: bytes, key: bytes, nonce: bytes) -> None:
    ciphertext, info = attachments.encrypted(data, key=key, nonce=nonce)
    assert attachments.decrypted(ciphertext, info) == data
    changed = bytes([ciphertext[0] ^ 1]) + ciphertext[1:] if ciphertext else b"x"
    for other in (changed, ciphertext + b"x", ciphertext[:-1] if data else b"y"):
        with pytest.raises(Tampered, match="not the one that was sent"):
            attachments.decrypted(other, info)


@pytest.mark.parametrize(
    "change",
    [
        {"v": "v1"},
        {"key": None},
        {"key": {"kty": "oct", "alg": "A256CTR", "k": "short"}},
        {"key": {"kty": "RSA", "alg": "A256CTR", "k": "A" * 43}},
        {"iv": "AAAA"},
        {"hashes": {"md5": "x"}},
        {"hashes": None},
    ],
)
def test_a_damaged_description_of_a_file_is_refused(change: dict[str, Any]) -> None:
    info: Any = {**vectors.ATTACHMENT_INFO, **change}
    with pytest.raises(Tampered, match="damaged"):
        attachments.decrypted(vectors.ATTACHMENT, info)
