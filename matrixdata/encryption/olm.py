"""Encrypting to single devices (spec "m.olm.v1.curve25519-aes-sha2"), and getting sessions with them.

What arrives is decrypted in olm_decryption.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vodozemac import Curve25519PublicKey

from matrixdata.encryption import device_lists, olm_sessions, outgoing
from matrixdata.encryption.device_keys import ALGORITHM, identity_keys, load, own_device
from matrixdata.encryption.port import OLM
from matrixdata.encryption.reading import json_text, object_at, text_at
from matrixdata.encryption.signing import is_signed
from matrixdata.encryption.unpadded import encoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vodozemac import Account

    from matrixdata.encryption.outgoing import Stored
    from matrixdata.encryption.port import Device, Outgoing
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON, JSONObject

log = logging.getLogger("matrixdata.encryption")

MOST_CLAIMS = 500
"""Devices claimed for in one request, so that its answer has a bound."""

_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_MOST_STRANGERS = 1_000


def encrypt(
    tx: Transaction, device: Device, event_type: str, content: Mapping[str, JSON]
) -> JSONObject | None:
    """Encrypt a to-device event for one device.

    Args:
        tx: the transaction; the ratchet is written in it, so what is returned must leave only after its commit.
        device: whose keys were checked.
        event_type: of the event inside.
        content: of the event inside.

    Returns:
        The content of the m.room.encrypted event to send, for `outgoing.queue_messages`; None: there is no session
        with the device, so `claim` first.
    """
    session = olm_sessions.newest(tx, device.curve25519)
    if session is None:
        return None
    own = own_device(tx)
    payload: JSONObject = {
        "type": event_type,
        "content": dict(content),
        "sender": own.user_id,
        "sender_device": own.device_id,
        "sender_device_keys": dict(own.keys),
        "keys": {"ed25519": own.ed25519},
        "recipient": device.user_id,
        "recipient_keys": {"ed25519": device.ed25519},
    }
    kind, ciphertext = session.encrypt(json_text(payload)).to_parts()
    olm_sessions.advanced(tx, session)
    return {
        "algorithm": OLM,
        "sender_key": own.curve25519,
        "ciphertext": {device.curve25519: {"type": kind, "body": encoded(ciphertext)}},
    }


# -- sessions with those who have none --------------------------------------------------------------------
def claim(tx: Transaction, devices: Iterable[Device]) -> Outgoing | None:
    """A request for keys of those of the devices with whom there is no session.

    Sent, it may leave others to claim for: ask again when it was answered. None: with each there is a session, or
    none to be had for now, since the server had no key of that device within the last hour.
    """
    missing = [it for it in devices if not olm_sessions.has(tx, it.curve25519) and _is_claimable(tx, it)]
    if not missing:
        return None
    keys = {it.curve25519 for it in missing}
    for it in outgoing.under_way(tx, "claim"):
        if keys & _claimed_devices(it).keys():
            return it.request
    return _claim(tx, missing[:MOST_CLAIMS])


def claimed(tx: Transaction, request: Stored, response: Mapping[str, JSON]) -> None:
    """Take an answer to /keys/claim: a session is made with each device whose key came, signed by that device."""
    failures = object_at(response, "failures")
    unwedging = request.purpose.get("unwedging") is True
    account = load(tx)  # a session that we begin uses up nothing of it
    fresh = []
    for curve25519, user_id in _claimed_devices(request).items():
        device = device_lists.by_key(tx, curve25519)
        if device is None or device.user_id != user_id:
            continue
        if _establish(tx, account, device, object_at(response, "one_time_keys", user_id, device.device_id)):
            fresh.append(device)
        else:
            is_down = user_id.partition(":")[2] in failures
            _not_before(tx, curve25519, 5 * _MINUTE if is_down else _HOUR)
    if unwedging:
        messages = [(it.user_id, it.device_id, encrypt(tx, it, "m.dummy", {})) for it in fresh]
        outgoing.queue_messages(
            tx, "m.room.encrypted", [(user, device, it) for user, device, it in messages if it]
        )


def refused(tx: Transaction, request: Stored) -> None:
    """The server does not take the claim; what goes to those devices waits a little."""
    for curve25519 in _claimed_devices(request):
        _not_before(tx, curve25519, 5 * _MINUTE)


def _claim(tx: Transaction, devices: list[Device], *, unwedging: bool = False) -> Outgoing:
    wanted: dict[str, dict[str, str]] = {}
    for it in devices:
        wanted.setdefault(it.user_id, {})[it.device_id] = ALGORITHM
    body: JSONObject = {"timeout": 10_000, "one_time_keys": {user: {**ids} for user, ids in wanted.items()}}
    of_whom: JSONObject = {it.curve25519: it.user_id for it in devices}
    return outgoing.queue(tx, "claim", body, purpose={"devices": of_whom, "unwedging": unwedging})


def _claimed_devices(request: Stored) -> dict[str, str]:
    return {key: str(user) for key, user in object_at(request.purpose, "devices").items()}


def _establish(tx: Transaction, account: Account, device: Device, given: JSONObject) -> bool:
    for key_id in given:
        key = text_at(given, key_id, "key")
        if key is None or not key_id.startswith(f"{ALGORITHM}:"):
            continue
        signer = f"ed25519:{device.device_id}"
        if not is_signed(object_at(given, key_id), device.user_id, signer, device.ed25519):
            log.warning("ignored a key of %s: device %r did not sign it", device.user_id, device.device_id)
            continue
        try:
            one_time_key = Curve25519PublicKey.from_base64(key)
            identity_key = Curve25519PublicKey.from_base64(device.curve25519)
            session = account.create_outbound_session(identity_key, one_time_key)
        except ValueError:  # each of vodozemac's errors is one
            log.warning("ignored a malformed key of %s, device %r", device.user_id, device.device_id)
            continue
        olm_sessions.received(tx, device.curve25519, session)
        return True
    return False


def _is_claimable(tx: Transaction, device: Device) -> bool:
    if device.curve25519 == identity_keys(tx)[0]:
        return False
    row = tx.connection.execute(
        "SELECT until FROM unclaimable WHERE curve25519 = ?", (device.curve25519,)
    ).fetchone()
    # Further off than an hour only if the clock was set back.
    return row is None or not 0 < row[0] - tx.me.clock() <= _HOUR


def _not_before(tx: Transaction, curve25519: str, pause: int) -> None:
    tx.connection.execute(
        "INSERT OR REPLACE INTO unclaimable VALUES (?, ?)", (curve25519, tx.me.clock() + pause)
    )


# -- sessions that broke ----------------------------------------------------------------------------------
def found_broken(tx: Transaction, sender: str, sender_key: str) -> None:
    """Something encrypted with a session with this device cannot be read: make a new one, once an hour at most."""
    device = device_lists.by_key(tx, sender_key)
    if device is not None and device.user_id != sender:
        return
    c, now = tx.connection, tx.me.clock()
    row = c.execute("SELECT at FROM unwedging WHERE sender_key = ?", (sender_key,)).fetchone()
    if row is not None and 0 <= now - row[0] < _HOUR:
        return
    (strangers,) = c.execute("SELECT count(*) FROM unwedging WHERE pending").fetchone()
    if device is None and strangers >= _MOST_STRANGERS:
        return
    c.execute("INSERT OR REPLACE INTO unwedging VALUES (?, ?, ?, 1)", (sender_key, sender, now))


def unwedge(tx: Transaction) -> None:
    """Ask for keys to replace the sessions that were found broken; `claimed` then tells the other side.

    Of a device that is not known yet, the keys are asked for once it is.
    """
    c, now = tx.connection, tx.me.clock()
    rows = c.execute("SELECT sender_key, user_id, at FROM unwedging WHERE pending").fetchall()
    devices = []
    for sender_key, user_id, at in rows:
        device = device_lists.by_key(tx, sender_key)
        if device is None and 0 <= now - at < _DAY:
            continue
        c.execute("UPDATE unwedging SET pending = 0 WHERE sender_key = ?", (sender_key,))
        if device is not None and device.user_id == user_id and not device.deleted:
            devices.append(device)
    for n in range(0, len(devices), MOST_CLAIMS):
        _claim(tx, devices[n : n + MOST_CLAIMS], unwedging=True)
