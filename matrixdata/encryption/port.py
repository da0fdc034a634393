"""The vocabulary between the engine and those who carry its requests: what comes in, what goes out, what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matrixdata.model.json import JSON

MEGOLM = "m.megolm.v1.aes-sha2"
OLM = "m.olm.v1.curve25519-aes-sha2"

Policy = Literal["cross-signed", "verified", "all"]
"""Whose devices get our keys, and whose records are taken (MSC4153).

`cross-signed`: devices that their owner signed. `verified`: those, of owners whom we verified ourselves. `all`: every
device, as a peer without cross-signing needs.
"""

Standing = Literal["verified", "cross-signed", "unsigned", "unknown", "unauthenticated"]
"""What is known of the device that encrypted something.

`verified`: signed by an owner whom we verified (or who we are). `cross-signed`: signed by its owner. `unsigned`: listed
by its owner's server, not signed by the owner. `unknown`: not listed (any more). `unauthenticated`: the key came from a
backup, a file or another person, none of which proves whose it was.
"""

Cause = Literal[
    "no_key",  # it was never shared with this device, or is still on its way
    "withheld",  # the sender said why we do not get it
    "too_early",  # we have the session, from a later message on
    "replayed",  # another event came with this session and index before
    "mismatch",  # the claimed sender, room or device is not who encrypted it
    "untrusted",  # the policy does not take records from that device
    "corrupt",  # the ciphertext is damaged, or what it holds is no event
    "unsupported",  # an algorithm that we do not speak
]


@dataclass(frozen=True, slots=True)
class Device:
    """A device of some user, as listed, with its own signature checked.

    Attributes:
        curve25519: its identity key, ed25519: its fingerprint; unpadded base64.
        keys: the signed device keys, signatures of its owner included.
        deleted: no longer listed.
        blocked: we refuse it keys.
    """

    user_id: str
    device_id: str
    curve25519: str
    ed25519: str
    keys: Mapping[str, JSON]
    deleted: bool = False
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class ToDevice:
    """A to-device event as the server handed it over, or as it was once decrypted.

    Attributes:
        content: parsed JSON.
        sender_key: the Curve25519 key of the device that encrypted it; None for one in clear.
        device_id: of that device, where its keys are known and they fit; None otherwise.
    """

    type: str
    sender: str
    content: Mapping[str, JSON]
    sender_key: str | None = None
    device_id: str | None = None


class SyncChanges(msgspec.Struct, frozen=True):
    """What one sync response says to the engine.

    Attributes:
        changed: users whose devices changed, or with whom we now share an encrypted room.
        left: users with whom we no longer share one.
        one_time_keys: unclaimed one-time keys on the server, by algorithm; None: the response does not say.
        fallback_unused: algorithms whose fallback key is unused; None: the response does not say.
        token: where the to-device stream goes on; committed together with what came before it. None: unchanged.
    """

    to_device: tuple[ToDevice, ...] = ()
    changed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    one_time_keys: Mapping[str, int] | None = None
    fallback_unused: tuple[str, ...] | None = None
    token: str | None = None


class Session(msgspec.Struct, frozen=True):
    """One Megolm session of one room."""

    room_id: str
    session_id: str


class Received(msgspec.Struct, frozen=True):
    """What a sync response, or the answer to a request, changed.

    Attributes:
        sessions: those for which there is now a key, a better key, or a word on why there is none.
        users: whose devices or identity may have changed, so that what was untrusted may no longer be, or was not.
        waiting: to-device events for others than the engine are now in the inbox, or somebody offers the keys of a
            room's past.
        problem: a sentence for the user on what only they can mend, such as a store that runs on two machines.
    """

    sessions: frozenset[Session] = frozenset()
    users: frozenset[str] = frozenset()
    waiting: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request that the engine wants sent. It is stored: until `answered`, it is asked for again, unchanged.

    Attributes:
        id: of this request; for `to_device` the transaction id too.
        kind: `upload` POST /keys/upload, `query` POST /keys/query, `claim` POST /keys/claim, `to_device`
            PUT /sendToDevice/{event_type}/{id}, `signatures` POST /keys/signatures/upload.
        body: exact bytes. Retried, it must be these: another one-time key under a used id is refused (measured).
    """

    id: str
    kind: Literal["upload", "query", "claim", "to_device", "signatures"]
    body: bytes = field(repr=False)
    event_type: str = ""


class Prepared(msgspec.Struct, frozen=True):
    """What is to be done before something can be encrypted for a room: send these, then ask again.

    Attributes:
        requests: in order; empty when all is done.
        left_out: devices of members that get no key, and why, such as "not signed by its owner".
    """

    requests: tuple[Outgoing, ...] = ()
    left_out: tuple[tuple[Device, str], ...] = ()


class Clear(msgspec.Struct, frozen=True):
    """A decrypted room event.

    Attributes:
        type: the event's own type.
        content: JSON text of its content, the cleartext `m.relates_to` of the envelope included.
        sender_key: Curve25519 key of the device that the session came from.
        device_id: of that device, None when it is not known.
    """

    type: str
    content: bytes
    session_id: str
    sender_key: str
    device_id: str | None
    standing: Standing


class Undecryptable(msgspec.Struct, frozen=True):
    """Why an event cannot be read now, and in a sentence what would mend that."""

    cause: Cause
    detail: str
    session_id: str | None = None


class Encrypted(msgspec.Struct, frozen=True):
    """An encrypted room event to send as m.room.encrypted. The ratchet behind it is written in the same transaction."""

    content: bytes
    session_id: str
    index: int
