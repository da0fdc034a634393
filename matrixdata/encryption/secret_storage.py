"""Secrets kept on the server, sealed with a key that the server never sees (spec "Secrets": Storage).

Algorithm m.secret_storage.v1.aes-hmac-sha2. Descriptions and sealed secrets come from the server: hostile.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from matrixdata.encryption import recovery_key
from matrixdata.encryption.unpadded import decoded, encoded
from matrixdata.errors import WrongKey
from matrixdata.model.hidden import HiddenBytes, HiddenText

if TYPE_CHECKING:
    from matrixdata.model.json import JSON, JSONObject

ALGORITHM = "m.secret_storage.v1.aes-hmac-sha2"
DEFAULT_KEY = "m.secret_storage.default_key"
MOST_ITERATIONS = 10_000_000
"""A server could ask for so many that we would compute for years; this many take a few seconds."""

_IV, _MAC, _KEY = 16, 32, 32


@dataclass(frozen=True, slots=True)
class StorageKey:
    """A key of secret storage: its id in account data, and its 32 bytes."""

    key_id: str
    key: bytes = field(repr=False)

    @property
    def event_type(self) -> str:
        """Of the account data that describes it."""
        return description_type(self.key_id)


def description_type(key_id: str) -> str:
    """The type of the account data that describes a key."""
    return f"m.secret_storage.key.{key_id}"


def description(key: bytes, *, iv: bytes) -> JSONObject:
    """What account data says of a key, so that a mistyped one is noticed.

    Args:
        key: 32 bytes.
        iv: 16 random bytes.
    """
    sealed = _sealed(key, "", bytes(_KEY), iv)
    return {"algorithm": ALGORITHM, "iv": sealed["iv"], "mac": sealed["mac"]}


def opened(text: str, key_id: str, content: Mapping[str, JSON]) -> StorageKey:
    """The key from what a person typed: a recovery key, or the passphrase that it was derived from.

    Args:
        text: as typed.
        key_id: the key's id.
        content: the key's description in account data.

    Raises:
        WrongKey: it is neither, or of another account; or the description is of a kind that we do not know.
    """
    if content.get("algorithm") != ALGORITHM:
        raise WrongKey(f"secret storage uses a way of encrypting that is not known here: {ALGORITHM} is")
    passphrase = content.get("passphrase")
    text = HiddenText(text)  # a traceback that shows variables must not show it
    try:
        key = recovery_key.read(text)
    except WrongKey:
        if not isinstance(passphrase, Mapping):
            raise
        key = _derived(text, passphrase)
    if not fits(key, content):
        raise WrongKey("the recovery key or passphrase is not the one of this account's secret storage")
    return StorageKey(key_id, key)


def fits(key: bytes, content: Mapping[str, JSON]) -> bool:
    """Whether it is the key described. A description without a check is taken at its word, as the spec has it."""
    if not content.get("iv") and not content.get("mac"):
        return True
    iv, mac = decoded(content.get("iv"), length=_IV), decoded(content.get("mac"), length=_MAC)
    if iv is None or mac is None:
        return False
    return hmac.compare_digest(_mac(key, "", bytes(_KEY), iv)[1], mac)


def sealed_secret(storage: StorageKey, name: str, secret: str, *, iv: bytes) -> JSONObject:
    """The account data (of type `name`) that holds a secret sealed with this key.

    Args:
        storage: the key.
        name: the secret's name.
        secret: its text.
        iv: 16 random bytes.
    """
    return {"encrypted": {storage.key_id: _sealed(storage.key, name, secret.encode(), iv)}}


def secret(storage: StorageKey, name: str, content: Mapping[str, JSON]) -> HiddenText | None:
    """A secret from account data; None where none is sealed with this key, or it was changed."""
    every = content.get("encrypted")
    sealed = every.get(storage.key_id) if isinstance(every, Mapping) else None
    if not isinstance(sealed, Mapping):
        return None
    iv, mac = decoded(sealed.get("iv"), length=_IV), decoded(sealed.get("mac"), length=_MAC)
    ciphertext = decoded(sealed.get("ciphertext"))
    if iv is None or mac is None or ciphertext is None:
        return None
    aes, mac_key = _keys(storage.key, name)
    if not hmac.compare_digest(hmac.digest(mac_key, ciphertext, "sha256"), mac):
        return None
    try:
        return HiddenText(_ctr(aes, iv, ciphertext).decode())
    except UnicodeDecodeError:
        return None


def _sealed(key: bytes, name: str, clear: bytes, iv: bytes) -> JSONObject:
    # Bit 63 is 0 because implementations of AES-CTR differ in how they carry into it.
    iv = iv[:8] + bytes([iv[8] & 0x7F]) + iv[9:]
    ciphertext, mac = _mac(key, name, clear, iv)
    return {"iv": encoded(iv), "ciphertext": encoded(ciphertext), "mac": encoded(mac)}


def _mac(key: bytes, name: str, clear: bytes, iv: bytes) -> tuple[bytes, bytes]:
    aes, mac_key = _keys(key, name)
    ciphertext = _ctr(aes, iv, clear)
    return ciphertext, hmac.digest(mac_key, ciphertext, "sha256")


def _keys(key: bytes, name: str) -> tuple[bytes, bytes]:
    both = HKDF(SHA256(), 64, salt=bytes(32), info=name.encode()).derive(key)
    return both[:32], both[32:]


def _ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)


def _derived(passphrase: HiddenText, content: Mapping[str, JSON]) -> HiddenBytes:
    salt, iterations, bits = content.get("salt"), content.get("iterations"), content.get("bits", 256)
    known = content.get("algorithm") == "m.pbkdf2" and isinstance(salt, str) and bits == 256
    if not known or not isinstance(salt, str) or not isinstance(iterations, int):
        raise WrongKey(
            "this account's passphrase is used in a way that is not known here; use the recovery key"
        )
    if not 0 < iterations <= MOST_ITERATIONS:
        raise WrongKey(
            f"the server asks for {iterations:,} rounds of the passphrase; at most {MOST_ITERATIONS:,} are done. "
            "Use the recovery key."
        )
    return HiddenBytes(hashlib.pbkdf2_hmac("sha512", passphrase.encode(), salt.encode(), iterations, 32))
