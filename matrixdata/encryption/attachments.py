"""Files encrypted for the media repository (spec "Sending encrypted attachments", EncryptedFile v2)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from matrixdata.encryption.unpadded import decoded, encoded
from matrixdata.errors import Tampered

if TYPE_CHECKING:
    from matrixdata.model.json import JSON, JSONObject

_IV = 16


def encrypted(data: bytes, *, key: bytes, nonce: bytes) -> tuple[bytes, JSONObject]:
    """A file as it may be uploaded, and what its readers need: everything of an EncryptedFile but its `url`.

    Args:
        data: the file.
        key: 32 random bytes, for this file only.
        nonce: 8 random bytes.
    """
    iv = nonce + bytes(_IV - len(nonce))
    ciphertext = _ctr(key, iv, data)
    info: JSONObject = {
        "v": "v2",
        "key": {
            "kty": "oct",
            "alg": "A256CTR",
            "ext": True,
            "key_ops": ["encrypt", "decrypt"],
            "k": urlsafe_b64encode(key).decode().rstrip("="),
        },
        "iv": encoded(iv),
        "hashes": {"sha256": encoded(hashlib.sha256(ciphertext).digest())},
    }
    return ciphertext, info


def decrypted(data: bytes, info: Mapping[str, JSON]) -> bytes:
    """The file; not a byte of it is used before its hash was checked, since the server could have changed it.

    Args:
        data: what was downloaded.
        info: the EncryptedFile object of the event.

    Raises:
        Tampered: it is not the file that was sent, or the description is damaged.
    """
    jwk, hashes = info.get("key"), info.get("hashes")
    key = _key(jwk) if isinstance(jwk, Mapping) else None
    iv = decoded(info.get("iv"), length=_IV)
    digest = decoded(hashes.get("sha256"), length=32) if isinstance(hashes, Mapping) else None
    if info.get("v") != "v2" or key is None or iv is None or digest is None:
        raise Tampered("the description of this encrypted file is damaged; ask its sender to send it again")
    if not hmac.compare_digest(hashlib.sha256(data).digest(), digest):
        raise Tampered(
            "this file is not the one that was sent: its hash differs; it was damaged or changed on the server"
        )
    return _ctr(key, iv, data)


def _key(jwk: Mapping[str, JSON]) -> bytes | None:
    text = jwk.get("k")
    if jwk.get("kty") != "oct" or jwk.get("alg") != "A256CTR" or not isinstance(text, str):
        return None
    return decoded(text.replace("-", "+").replace("_", "/"), length=32)


def _ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)
