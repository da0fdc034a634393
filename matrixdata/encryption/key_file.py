"""Room keys in a file under a passphrase (spec "Key exports"). Reads and writes text; opens no file."""

from __future__ import annotations

import hashlib
import hmac
import struct
import textwrap
from base64 import b64encode
from typing import TYPE_CHECKING

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from matrixdata.encryption.unpadded import decoded
from matrixdata.errors import WrongKey
from matrixdata.model.hidden import HiddenBytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matrixdata.model.json import JSONObject

ROUNDS = 500_000
"""PBKDF2 rounds of what we write; the spec asks for 100,000 at least."""
MOST_ROUNDS = 10_000_000
"""Of what we read: a hostile file could ask for 2^32, which would take an hour."""

_BEGIN = "-----BEGIN MEGOLM SESSION DATA-----"
_END = "-----END MEGOLM SESSION DATA-----"
_HEAD = struct.Struct(">B16s16sI")
_MAC = 32


def written(
    keys: Sequence[JSONObject], passphrase: str, *, salt: bytes, iv: bytes, rounds: int = ROUNDS
) -> str:
    """The text of a key file.

    Args:
        keys: sessions in the format of key exports.
        passphrase: whoever knows it reads every message of these sessions.
        salt: 16 random bytes.
        iv: 16 random bytes.
        rounds: of PBKDF2.

    Raises:
        WrongKey: the passphrase is empty.
    """
    if not passphrase:
        raise WrongKey("an empty passphrase protects nothing; give another")
    # Bit 63 is 0 because implementations of AES-CTR differ in how they carry into it.
    iv = iv[:8] + bytes([iv[8] & 0x7F]) + iv[9:]
    aes, mac_key = _derived(passphrase, salt, rounds)
    body = _HEAD.pack(1, salt, iv, rounds) + _ctr(aes, iv, msgspec.json.encode(list(keys)))
    text = b64encode(body + hmac.digest(mac_key, body, "sha256")).decode()
    return "\n".join([_BEGIN, *textwrap.wrap(text, 96), _END, ""])


def read(text: str, passphrase: str) -> list[JSONObject]:
    """The sessions of a key file, in the format of key exports; whether each is sound is for others to say.

    Raises:
        WrongKey: it is no key file, is damaged, or the passphrase is another one.
    """
    data = _body(text)
    version, salt, _, rounds = _HEAD.unpack_from(data)
    if version != 1:
        raise WrongKey(f"this key file is of version {version}; only version 1 is known here")
    if not 0 < rounds <= MOST_ROUNDS:
        raise WrongKey(
            f"this key file asks for {rounds:,} rounds of the passphrase; at most {MOST_ROUNDS:,} are done"
        )
    clear = _opened(data, passphrase, salt, rounds)
    del passphrase  # a traceback that shows variables must not show it
    if clear is None:
        raise WrongKey("the passphrase is not the one of this key file, or the file was changed")
    try:
        keys = msgspec.json.decode(clear, type=list[dict[str, object]])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise WrongKey("this key file opens, and what it holds is no list of keys") from error
    return keys  # type: ignore[return-value]  # msgspec decoded JSON, whose values are JSON


def _opened(data: bytes, passphrase: str, salt: bytes, rounds: int) -> HiddenBytes | None:
    """What the file holds; None where its MAC does not fit."""
    aes, mac_key = _derived(passphrase, salt, rounds)
    body, mac = data[:-_MAC], data[-_MAC:]
    if not hmac.compare_digest(hmac.digest(mac_key, body, "sha256"), mac):
        return None
    _, _, iv, _ = _HEAD.unpack_from(data)
    return HiddenBytes(_ctr(aes, iv, body[_HEAD.size :]))


def _body(text: str) -> bytes:
    start, end = text.find(_BEGIN), text.find(_END)
    if start < 0 or end < start:
        raise WrongKey(f"this is not a key file: it has no line {_BEGIN!r}, or it ends too early")
    data = decoded("".join(text[start + len(_BEGIN) : end].split()))
    if data is None:
        raise WrongKey("this key file is damaged: between its first and last line is no base64")
    if len(data) < _HEAD.size + _MAC:
        raise WrongKey("this key file is damaged: it is too short")
    return data


def _derived(passphrase: str, salt: bytes, rounds: int) -> tuple[bytes, bytes]:
    both = hashlib.pbkdf2_hmac("sha512", passphrase.encode(), salt, rounds, 64)
    return both[:32], both[32:]


def _ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)
