"""Signed JSON (spec appendix "Signing JSON"), with keys of Olm accounts and with cross-signing keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vodozemac import Ed25519PublicKey, Ed25519Signature, KeyException, SignatureException

from matrixdata.errors import RecordInvalid
from matrixdata.protocol.canonical import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matrixdata.model.json import JSON, JSONObject


def signed(value: Mapping[str, JSON], user_id: str, key_id: str, sign: Callable[[bytes], str]) -> JSONObject:
    """The object with one more signature; those it has stay.

    Args:
        value: what to sign.
        user_id: who signs.
        key_id: such as "ed25519:DEVICEID"; for cross-signing keys, "ed25519:" and the public key.
        sign: from bytes to their signature, unpadded base64.
    """
    signatures = value.get("signatures")
    of_all = dict(signatures) if isinstance(signatures, dict) else {}
    ours = of_all.get(user_id)
    of_all[user_id] = {**(ours if isinstance(ours, dict) else {}), key_id: sign(what_is_signed(value))}
    return {**value, "signatures": of_all}


def is_signed(value: Mapping[str, JSON], user_id: str, key_id: str, key: str) -> bool:
    """Whether the object carries that user's signature by that key. Nothing in it raises: it is from strangers.

    Args:
        value: the signed object.
        user_id: whose signature is looked for.
        key_id: by which of that user's keys.
        key: the Ed25519 public key, unpadded base64.
    """
    signatures = value.get("signatures")
    of_user = signatures.get(user_id) if isinstance(signatures, dict) else None
    signature = of_user.get(key_id) if isinstance(of_user, dict) else None
    if not isinstance(signature, str):
        return False
    try:
        Ed25519PublicKey.from_base64(key).verify_signature(
            what_is_signed(value), Ed25519Signature.from_base64(signature)
        )
    except (KeyException, SignatureException, RecordInvalid):
        return False
    return True


def what_is_signed(value: Mapping[str, JSON]) -> bytes:
    """The bytes that a signature of the object is of: canonical JSON without `signatures` and `unsigned`."""
    return canonical_json({k: v for k, v in value.items() if k not in {"signatures", "unsigned"}})
