"""Recovery keys, secret storage and key files: what is typed, sealed and opened, with others' vectors."""

from __future__ import annotations

import json
from base64 import b64decode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.encryption import key_file, recovery_key, secret_storage
from matrixdata.errors import WrongKey
from tests.encryption import vectors

keys = st.binary(min_size=32, max_size=32)
ivs = st.binary(min_size=16, max_size=16)


# -- recovery keys -------------------------------------------------------------------------------------------
def test_a_recovery_key_is_shown_and_read_as_others_do() -> None:
    assert recovery_key.shown(b64decode(vectors.BACKUP_KEY)) == vectors.BACKUP_KEY_SHOWN
    assert recovery_key.read(vectors.BASE58_TYPED) == vectors.BASE58_KEY


@pytest.mark.parametrize("said", vectors.BASE58_WRONG)
def test_a_mistyped_recovery_key_is_refused_with_what_is_wrong_and_not_repeated(said: str) -> None:
    typed = vectors.BASE58_WRONG[said]
    with pytest.raises(WrongKey, match=said) as caught:
        recovery_key.read(typed)
    assert typed not in str(caught.value)


@given(keys)
def test_any_key_comes_back_as_it_was_shown(key: bytes) -> None:
    assert recovery_key.read(recovery_key.shown(key)) == key


@given(
    keys, st.integers(0, 47), st.sampled_from("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")
)
def test_one_wrong_letter_gives_no_other_key_unnoticed_most_of_the_time(
    key: bytes, at: int, letter: str
) -> None:
    # One byte of parity lets one in 256 pass; secret storage has a check of its own for those.
    letters = list(recovery_key.shown(key).replace(" ", ""))
    letters[at] = letter
    try:
        read = recovery_key.read("".join(letters))
    except WrongKey:
        return
    assert len(read) == 32


@given(st.text(max_size=300))
def test_whatever_is_typed_is_a_key_or_refused(text: str) -> None:
    with suppress(WrongKey):
        assert len(recovery_key.read(text)) == 32


# -- secret storage ------------------------------------------------------------------------------------------
def test_storage_of_others_opens_with_their_key_and_with_their_passphrase() -> None:
    by_key = secret_storage.opened(vectors.STORAGE_KEY_SHOWN, "id", vectors.STORAGE_BY_KEY)
    by_words = secret_storage.opened(vectors.STORAGE_PASSPHRASE, "id", vectors.STORAGE_BY_PASSPHRASE)
    assert by_key.event_type == "m.secret_storage.key.id"
    assert by_key.key not in repr(by_key).encode()
    assert len(by_words.key) == 32


@pytest.mark.parametrize(
    ("typed", "description", "said"),
    [
        (vectors.STORAGE_KEY_SHOWN, vectors.STORAGE_BY_PASSPHRASE, "not the one of this account"),
        ("It's a secret to nobody", vectors.STORAGE_BY_PASSPHRASE, "not the one of this account"),
        ("a passphrase", vectors.STORAGE_BY_KEY, "recovery key"),
        (vectors.STORAGE_KEY_SHOWN, {**vectors.STORAGE_BY_KEY, "iv": "AAAA"}, "not the one"),
        (vectors.STORAGE_KEY_SHOWN, {**vectors.STORAGE_BY_KEY, "mac": "AAAA"}, "not the one"),
        (vectors.STORAGE_KEY_SHOWN, {**vectors.STORAGE_BY_KEY, "algorithm": "m.custom"}, "not known"),
        (
            "words",
            {"algorithm": secret_storage.ALGORITHM, "passphrase": {"algorithm": "m.other"}},
            "use the recovery key",
        ),
        (
            "words",
            {
                "algorithm": secret_storage.ALGORITHM,
                "passphrase": {"algorithm": "m.pbkdf2", "salt": "salt", "iterations": 2**31},
            },
            "rounds",
        ),
    ],
)
def test_what_does_not_open_it_is_refused_with_a_reason(
    typed: str, description: dict[str, object], said: str
) -> None:
    with pytest.raises(WrongKey, match=said):
        secret_storage.opened(typed, "id", description)  # type: ignore[arg-type]  # JSON


def test_a_description_without_a_check_is_taken_at_its_word() -> None:
    passphrase = {"algorithm": "m.pbkdf2", "salt": "salty goodness", "iterations": 100}
    description = {"algorithm": secret_storage.ALGORITHM, "passphrase": passphrase}
    assert secret_storage.opened("anything", "id", description).key_id == "id"  # type: ignore[arg-type]  # JSON


@given(keys, ivs, st.text(max_size=50), st.text(max_size=200))
def test_a_secret_comes_back_under_its_name_and_key_only(key: bytes, iv: bytes, name: str, text: str) -> None:
    storage = secret_storage.StorageKey("id", key)
    sealed = secret_storage.sealed_secret(storage, name, text, iv=iv)
    assert text == "" or text not in json.dumps(sealed["encrypted"]) or len(text) < 5
    assert secret_storage.secret(storage, name, sealed) == text
    assert secret_storage.secret(storage, name + "x", sealed) is None
    other = secret_storage.StorageKey("id", bytes([key[0] ^ 1]) + key[1:])
    assert secret_storage.secret(other, name, sealed) is None
    assert secret_storage.secret(secret_storage.StorageKey("other", key), name, sealed) is None
    assert secret_storage.fits(key, secret_storage.description(key, iv=iv))
    assert not secret_storage.fits(other.key, secret_storage.description(key, iv=iv))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, json_values, json_values)
def test_whatever_the_server_hands_over_raises_nothing(iv: object, mac: object, ciphertext: object) -> None:
    sealed = {"encrypted": {"id": {"iv": iv, "mac": mac, "ciphertext": ciphertext}}}
    storage = secret_storage.StorageKey("id", bytes(32))
    assert secret_storage.secret(storage, "name", sealed) is None  # type: ignore[arg-type]  # JSON
    assert secret_storage.secret(storage, "name", {"encrypted": iv}) is None  # type: ignore[dict-item]  # JSON


# -- key files -----------------------------------------------------------------------------------------------
def test_a_key_file_of_others_opens() -> None:
    read = key_file.read(vectors.KEY_FILE, vectors.KEY_FILE_PASSPHRASE)
    assert read
    assert all(each["algorithm"] == "m.megolm.v1.aes-sha2" for each in read)


@pytest.mark.parametrize(
    ("text", "passphrase", "said"),
    [
        (vectors.KEY_FILE, "12345", "passphrase"),
        (vectors.KEY_FILE.replace("Xke2Q7", "Xke3Q7"), "1234", "passphrase"),
        (vectors.KEY_FILE.replace("BEGIN", "BEGUN"), "1234", "not a key file"),
        (vectors.KEY_FILE.replace("END", "EN"), "1234", "not a key file"),
        (vectors.KEY_FILE.replace("Af7m", "A!7m"), "1234", "damaged"),
        (vectors.KEY_FILE.replace("Af7m", "Cf7m"), "1234", "version"),
        (vectors.KEY_FILE[:60] + vectors.KEY_FILE[-34:], "1234", "damaged"),
    ],
)
def test_a_key_file_that_does_not_open_says_why(text: str, passphrase: str, said: str) -> None:
    with pytest.raises(WrongKey, match=said):
        key_file.read(text, passphrase)


def test_a_key_file_that_asks_for_hours_of_computing_is_refused_at_once() -> None:
    text = key_file.written([], "words", salt=bytes(16), iv=bytes(16), rounds=1)
    # The rounds are bytes 33 to 36: their first byte is in the 45th to 48th character.
    body = text.splitlines()[1]
    assert body[44:48] == "AAAB"[:4] or len(body) > 48
    hostile = text.replace(body, body[:44] + "/////w" + body[50:])
    with pytest.raises(WrongKey, match="rounds"):
        key_file.read(hostile, "words")


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(WrongKey, match="empty"):
        key_file.written([], "", salt=bytes(16), iv=bytes(16))


@given(
    st.lists(st.dictionaries(st.text(max_size=10), st.text(max_size=50), max_size=3), max_size=4), ivs, ivs
)
def test_what_is_exported_comes_back(exported: list[dict[str, str]], salt: bytes, iv: bytes) -> None:
    text = key_file.written(exported, "pass ✓", salt=salt, iv=iv, rounds=2)  # type: ignore[arg-type]  # JSON
    assert key_file.read("some words before\n" + text.replace("\n", "\r\n"), "pass ✓") == exported
