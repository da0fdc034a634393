"""Judging answers to /keys/query: nothing in them is believed that is not signed, consistent, and as it was before."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from vodozemac import Curve25519PublicKey, Ed25519PublicKey, KeyException

from matrixdata.encryption import device_lists, identities, outgoing
from matrixdata.encryption.device_keys import CLONED, identity_keys, republish
from matrixdata.encryption.port import OLM, Device, Received
from matrixdata.encryption.reading import is_sane, object_at, text_at, texts_at
from matrixdata.encryption.signing import is_signed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from matrixdata.encryption.outgoing import Stored
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON, JSONObject

log = logging.getLogger("matrixdata.encryption")

MOST_DEVICES = 1_000
"""Of one user: a server can list any number, and each would get every key."""

_USAGES = ("master", "self_signing", "user_signing")


def answered(tx: Transaction, request: Stored, response: Mapping[str, JSON]) -> Received:
    """Take an answer to /keys/query: devices and identities of the users who were asked for.

    Returns:
        The users about whom anything changed.
    """
    failures = object_at(response, "failures")
    changed, problem = set[str](), ""
    for user, asked in object_at(request.purpose, "users").items():
        given = {usage: object_at(response, f"{usage}_keys", user) for usage in _USAGES}
        listed = object_at(response, "device_keys").get(user)
        if not isinstance(listed, dict) and user.partition(":")[2] in failures:
            device_lists.unanswered(tx, user)
            continue
        if _learn_identity(tx, user, given) | _learn_devices(tx, user, listed, given):
            changed.add(user)
        if user == tx.me.user_id:
            problem = _own_device_missing(tx, listed if isinstance(listed, dict) else {})
        device_lists.answered(tx, user, asked)
    return Received(users=frozenset(changed), problem=problem)


def refused(tx: Transaction, request: Stored) -> None:
    """The server does not take the question: halves of it are asked, until the name that it minds is alone."""
    users = sorted(object_at(request.purpose, "users"))
    half = len(users) // 2
    if half:
        device_lists.ask_now(tx, users[:half])
        device_lists.ask_now(tx, users[half:])
    else:
        log.warning("the server does not say which devices %s has", *users)
        for user in users:
            device_lists.unanswered(tx, user)


def device_from(user_id: str, device_id: str, keys: Mapping[str, JSON]) -> Device | str:
    """The device that these keys describe, or why they describe none. Looks at nothing but them."""
    if keys.get("user_id") != user_id or keys.get("device_id") != device_id:
        return "it is described as another's"
    curve25519 = text_at(keys, "keys", f"curve25519:{device_id}")
    ed25519 = text_at(keys, "keys", f"ed25519:{device_id}")
    if curve25519 is None or ed25519 is None or OLM not in texts_at(keys, "algorithms"):
        return "it cannot encrypt"
    try:
        # Spelled in another way, one key would pass for two.
        plain = Curve25519PublicKey.from_base64(curve25519).to_base64() == curve25519
        plain &= Ed25519PublicKey.from_base64(ed25519).to_base64() == ed25519
    except KeyException:
        plain = False
    if not plain or not is_sane(keys):
        return "its keys are malformed"
    if not is_signed(keys, user_id, f"ed25519:{device_id}", ed25519):
        return "it did not sign its keys"
    lasting = {name: value for name, value in keys.items() if name != "unsigned"}  # which the server adds
    return Device(user_id, device_id, curve25519, ed25519, lasting)


def introduced(tx: Transaction, device: Device) -> Device | None:
    """A device that proved to have its keys, in an Olm message with them inside (MSC4147), before it was listed.

    Returns:
        The device as it is stored now; None where it contradicts what is known.
    """
    known = device_lists.by_key(tx, device.curve25519)
    if known is not None and known.user_id != device.user_id:
        log.warning("device %r of %s had a key that is not its own", known.device_id, known.user_id)
        device_lists.forget(tx, known)
        known = None
    if known is not None:
        same = (known.device_id, known.ed25519) == (device.device_id, device.ed25519)
        return known if same else None
    if _contradiction(tx, device, {}) is not None:
        return None
    device_lists.keep(tx, replace(device, deleted=True))
    return device_lists.by_key(tx, device.curve25519)


# -- identities -------------------------------------------------------------------------------------------
def _learn_identity(tx: Transaction, user: str, given: Mapping[str, JSONObject]) -> bool:
    sane = {usage: keys if is_sane(keys) else {} for usage, keys in given.items()}
    return identities.learn(
        *(tx, user),
        master=sane["master"],
        self_signing=sane["self_signing"],
        user_signing=sane["user_signing"],
    )


# -- devices ----------------------------------------------------------------------------------------------
def _learn_devices(tx: Transaction, user: str, listed: JSON, given: Mapping[str, JSONObject]) -> bool:
    if not isinstance(listed, dict):
        return False  # the server says nothing of devices
    before = {it.device_id: it for it in device_lists.devices_of(tx, [user])}
    own = before.get(tx.me.device_id) if user == tx.me.user_id else None
    changed = False
    for device in _acceptable(tx, user, listed, given):
        old = before.pop(device.device_id, None)
        if old is None or old.ed25519 != device.ed25519 or old.keys != device.keys:
            if old is not None and old.ed25519 != device.ed25519:
                device_lists.unlist(tx, old)
            device_lists.keep(tx, device)
            changed = True
    for gone in before.values():
        # What is listed and was not believed is not gone: the device as we know it stays.
        if gone.device_id not in listed and gone != own:
            device_lists.unlist(tx, gone)
            changed = True
    return changed


def _acceptable(
    tx: Transaction, user: str, listed: JSONObject, given: Mapping[str, JSONObject]
) -> Iterator[Device]:
    if len(listed) > MOST_DEVICES:
        log.warning("%s has %d devices; only the first %d are looked at", user, len(listed), MOST_DEVICES)
    for device_id in sorted(listed)[:MOST_DEVICES]:
        device = device_from(user, device_id, object_at(listed, device_id))
        fault = device if isinstance(device, str) else _contradiction(tx, device, given)
        if isinstance(device, str) or fault:
            log.warning("ignored device %r of %s: %s", device_id, user, fault)
        else:
            yield device


def _contradiction(tx: Transaction, device: Device, given: Mapping[str, JSONObject]) -> str | None:
    """Why a device that signed itself cannot be what it says, given what else is known."""
    cross_signing = {
        identities.cross_signing_key(device.user_id, usage, keys) for usage, keys in given.items()
    }
    owner = identities.identity(tx, device.user_id)
    if owner is not None:
        cross_signing |= {owner.master, owner.self_signing, owner.user_signing}
    if device.device_id in cross_signing or device.ed25519 in cross_signing:
        return "it goes by the name of a cross-signing key"  # CVE-2022-39250
    holder = device_lists.by_key(tx, device.curve25519)
    if holder is not None and (holder.user_id, holder.device_id) != (device.user_id, device.device_id):
        return "its identity key is that of another device"
    if holder is not None and holder.ed25519 != device.ed25519:
        return "its fingerprint is another than before"
    if holder is None and _was_known(tx, device) and not _may_change(tx, device, owner):
        return "its keys are others than before"
    return None


def _was_known(tx: Transaction, device: Device) -> bool:
    query = "SELECT 1 FROM device WHERE user_id = ? AND device_id = ?"
    return tx.connection.execute(query, (device.user_id, device.device_id)).fetchone() is not None


def _may_change(tx: Transaction, device: Device, owner: identities.Identity | None) -> bool:
    """Whether a device id may stand for other keys than before: only on the word of its owner.

    That is who logs in anew under an old device id and signs the device.
    """
    if device.user_id == tx.me.user_id and device.device_id == tx.me.device_id:
        return False  # nobody but us makes our keys
    query = "SELECT 1 FROM device WHERE user_id = ? AND device_id = ? AND ed25519 = ?"
    if tx.connection.execute(query, (device.user_id, device.device_id, device.ed25519)).fetchone():
        return False  # the same fingerprint with another identity key
    return owner is not None and not owner.changed and identities.is_signed_by_owner(owner, device)


def _own_device_missing(tx: Transaction, listed: JSONObject) -> str:
    """Our own device, as the server lists it: gone, it is published again; another's keys, we say so."""
    curve25519, ed25519 = identity_keys(tx)
    device_id = tx.me.device_id
    if device_id not in listed:
        if not outgoing.under_way(tx, "upload"):
            republish(tx)
        return ""
    keys = object_at(listed, device_id, "keys")
    same = keys.get(f"curve25519:{device_id}") == curve25519 and keys.get(f"ed25519:{device_id}") == ed25519
    return "" if same else CLONED
