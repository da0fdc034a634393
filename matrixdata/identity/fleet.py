"""The devices of users: listed, signed, refused. One who holds the account's keys signs for devices that never do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from matrixdata.encryption import cross_signing, device_lists, identities, outgoing
from matrixdata.encryption.identities import Identity
from matrixdata.errors import NotFound, NotVerified, Rejected
from matrixdata.identity import own
from matrixdata.protocol import identity_requests

if TYPE_CHECKING:
    from matrixdata.encryption.port import Device, Standing
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.identity.desk import Desk

Revoked = Literal["removed", "blocked"]


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device as its owner's server lists it, and what is known of it.

    Attributes:
        fingerprint: its Ed25519 key in groups of four, as others show it.
        standing: "verified", "cross-signed" or "unsigned".
        blocked: we refuse it keys.
    """

    user_id: str
    device_id: str
    fingerprint: str
    standing: Standing
    blocked: bool


def shown(key: str) -> str:
    """A public key in groups of four."""
    return " ".join(key[i : i + 4] for i in range(0, len(key), 4))


async def devices(desk: Desk, user_id: str) -> list[DeviceInfo]:
    """The devices of a user, as their server lists them now."""
    await own.refresh(desk, user_id)

    def work(tx: Transaction) -> list[DeviceInfo]:
        listed = device_lists.devices_of(tx, [user_id])
        return [
            DeviceInfo(
                it.user_id, it.device_id, shown(it.ed25519), identities.standing(tx, it), blocked=it.blocked
            )
            for it in listed
        ]

    return await desk.read(work)


def collides(identity: Identity | None, device_id: str) -> bool:
    """Whether a device passes for a cross-signing key: a trick to have another key signed (CVE-2022-39250)."""
    return identity is not None and device_id in {
        identity.master,
        identity.self_signing,
        identity.user_signing,
    }


async def sign_device(desk: Desk, device_id: str, *, fingerprint: str | None = None) -> None:
    """Sign a device of our own account, so that everybody sees it as ours.

    Args:
        desk: the client's; it holds the account's private keys.
        device_id: which.
        fingerprint: as the device itself shows it. Without it we believe the server which keys that device has.

    Raises:
        NotFound: the account has no such device.
        NotVerified: its fingerprint is another one.
        KeyMissing: the private keys are not here.
    """
    await own.refresh(desk)

    def work(tx: Transaction) -> None:
        device = _own(tx, device_id)
        if fingerprint is not None and "".join(fingerprint.split()) != device.ed25519:
            raise NotVerified(
                f"the server lists another fingerprint for {device_id} than was given: it is another device, or "
                "somebody stands in between; it was not signed"
            )
        identity = identities.identity(tx, tx.me.user_id)
        if identity is None or identity.changed or collides(identity, device_id):
            raise NotVerified(
                f"{device_id} was not signed: the account's own identity is not sure; see client.keys.status()"
            )
        outgoing.queue(tx, "signatures", cross_signing.sign_device(tx, device.keys))
        device_lists.block(tx, tx.me.user_id, device_id, False)

    await desk.write(work)
    await own.refresh(desk)
    listed = {it.device_id: it.standing for it in await devices(desk, desk.user_id)}
    if listed.get(device_id) not in {"verified", "cross-signed"}:
        raise Rejected("M_UNKNOWN", f"the signature of {device_id} was not kept")


async def revoke(desk: Desk, device_id: str, *, password: str | None = None) -> Revoked:
    """End a device of our own account.

    From here it gets no more keys at once. With the account's password it is removed from the account, which ends
    its session and lets everybody else leave it out too; its signature counts until then.

    Returns:
        "removed", or "blocked" where no password was given: then only this device refuses it.

    Raises:
        NotFound: the account has no such device.
        PasswordNeeded: the password is wrong.
    """
    await own.refresh(desk)

    def work(tx: Transaction) -> None:
        _own(tx, device_id)
        device_lists.block(tx, tx.me.user_id, device_id, True)

    await desk.write(work)
    if password is None:
        return "blocked"
    await own.with_password(
        desk, lambda auth: identity_requests.delete_device(device_id, auth), password=password
    )
    await own.refresh(desk)
    return "removed"


def _own(tx: Transaction, device_id: str) -> Device:
    device = device_lists.device(tx, tx.me.user_id, device_id)
    if device is None:
        there = ", ".join(it.device_id for it in device_lists.devices_of(tx, [tx.me.user_id]))
        raise NotFound(f"{tx.me.user_id} has no device {device_id} that can encrypt; it has {there}")
    return device
