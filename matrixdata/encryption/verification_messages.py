"""The messages of a verification: what they hold, what they offer, and what its ends are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from matrixdata.encryption.sas import AGREEMENT, HASH, MACS, METHOD, STRINGS

if TYPE_CHECKING:
    from matrixdata.model.json import JSON, JSONObject

PREFIX: Final = "m.key.verification."

REASONS: Final = {
    "m.user": "it was refused or stopped by a person",
    "m.timeout": "it took longer than ten minutes",
    "m.unknown_transaction": "the other device does not know (any more) about this verification",
    "m.unknown_method": "the two devices have no way of verifying in common",
    "m.unexpected_message": "a message came out of turn",
    "m.key_mismatch": "the keys are not those that the server lists: somebody may be in between",
    "m.user_mismatch": "it is another user than was expected",
    "m.invalid_message": "a message could not be understood",
    "m.accepted": "another device of yours took it up",
    "m.mismatched_commitment": "the other side changed its key on the way: somebody may be in between",
    "m.mismatched_sas": "the strings differ: somebody may be in between",
}


@dataclass(frozen=True, slots=True)
class Message:
    """A to-device message to the other side.

    Attributes:
        type: such as m.key.verification.start.
    """

    type: str
    content: JSONObject


def start_content(transaction: str, device_id: str) -> JSONObject:
    """Of m.key.verification.start: all that we can do."""
    return {
        "transaction_id": transaction,
        "from_device": device_id,
        "method": METHOD,
        "key_agreement_protocols": [AGREEMENT],
        "hashes": [HASH],
        "message_authentication_codes": list(MACS),
        "short_authentication_string": list(STRINGS),
    }


def accept_content(start: Mapping[str, JSON], commitment: str) -> JSONObject:
    """Of m.key.verification.accept: the best of what a start offers."""
    macs, strings = start.get("message_authentication_codes"), start.get("short_authentication_string")
    return {
        "method": METHOD,
        "key_agreement_protocol": AGREEMENT,
        "hash": HASH,
        "message_authentication_code": next(mac for mac in MACS if has(macs, mac)),
        "short_authentication_string": [each for each in STRINGS if has(strings, each)],
        "commitment": commitment,
    }


def offers(content: Mapping[str, JSON]) -> bool:
    """Whether a start is of our method, and offers what we need of each kind."""
    return (
        content.get("method") == METHOD
        and has(content.get("key_agreement_protocols"), AGREEMENT)
        and has(content.get("hashes"), HASH)
        and any(has(content.get("message_authentication_codes"), mac) for mac in MACS)
        and any(has(content.get("short_authentication_string"), each) for each in STRINGS)
    )


def accepts(content: Mapping[str, JSON]) -> bool:
    """Whether an accept chose what we know."""
    chosen = (content.get("key_agreement_protocol"), content.get("hash"))
    known = chosen == (AGREEMENT, HASH) and content.get("message_authentication_code") in MACS
    return known and any(has(content.get("short_authentication_string"), each) for each in STRINGS)


def has(offered: JSON, wanted: str) -> bool:
    """Whether a list of what the other side can do holds it."""
    return isinstance(offered, list) and wanted in offered
