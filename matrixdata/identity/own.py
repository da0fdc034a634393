"""Our identity: made for an account that has none, and signing this device where its keys are at hand."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from matrixdata.encryption import (
    cross_signing,
    device_keys,
    device_lists,
    identities,
    outgoing,
    stored_secrets,
)
from matrixdata.encryption.stored_secrets import MASTER, SELF_SIGNING
from matrixdata.errors import NotVerified, PasswordNeeded, Rejected
from matrixdata.identity.situation import OF_IDENTITY, situation
from matrixdata.protocol import identity_requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.encryption.transaction import Transaction
    from matrixdata.identity.desk import Desk
    from matrixdata.identity.situation import Situation
    from matrixdata.model.hidden import HiddenBytes
    from matrixdata.model.json import JSONObject
    from matrixdata.protocol.requests import Request

log = logging.getLogger("matrixdata.identity")


async def ensure(desk: Desk, *, password: str | None = None) -> Situation:
    """See to it, as far as it can be without a person, that this device is signed by its account's identity.

    An account without one gets one. Where there is one whose keys are not here, the device stays unsigned until
    `recover` or a verification. Asks nothing where all is well.

    Args:
        desk: the client's.
        password: for servers that want it before the first identity of an account, too.

    Raises:
        PasswordNeeded: that, and there is none.
        NotVerified: the server gives another identity than before.
        NotSent, Unknown, RateLimited, LoggedOut: it has to be tried again.
    """
    now = await desk.read(situation)
    if now.settled:
        return now
    now = await refresh(desk)
    if now.changed:
        raise NotVerified(
            f"the server gives another identity of {desk.user_id} than before: somebody reset it, or stands in "
            "between. If it was you, client.keys.recover() with the new recovery key, or verify this device"
        )
    if now.master is None:
        return await _create(desk, password)
    if SELF_SIGNING in now.held and not now.signed:
        return await sign_this_device(desk)
    return now


async def refresh(desk: Desk, *users: str) -> Situation:
    """Ask the server for the devices and identities of these users, ours if none is named."""
    asked = list(users) or [desk.user_id]

    def work(tx: Transaction) -> None:
        device_lists.track(tx, asked)
        device_lists.mark_stale(tx, asked)

    await desk.write(work)
    await desk.courier.deliver()
    return await desk.read(situation)


async def sign_this_device(desk: Desk) -> Situation:
    """Sign this device with the self-signing key, which must be here; one who holds the master key knows it is ours."""

    def work(tx: Transaction) -> None:
        identity = identities.identity(tx, tx.me.user_id)
        if identity is not None and cross_signing.is_ours(tx, MASTER, identity.master):
            identities.set_verified(tx, tx.me.user_id, identity.master)
        own = device_keys.own_device(tx)
        outgoing.queue(tx, "signatures", cross_signing.sign_device(tx, own.keys))

    await desk.write(work)
    now = await refresh(desk)
    if not now.signed:
        log.warning("the server did not take the signature of this device; it is tried again later")
    return now


async def _create(desk: Desk, password: str | None) -> Situation:
    """Make an identity. The keys are stored before they leave: sent again, they are the same."""
    body = await desk.write(_made)
    try:
        await with_password(
            desk, lambda auth: identity_requests.upload_identity(body, auth), password=password
        )
    except PasswordNeeded:
        # Where only a second identity needs the password, another device was quicker.
        now = await refresh(desk)
        if now.master is None:
            raise
        if SELF_SIGNING not in now.held:
            await desk.write(lambda tx: stored_secrets.forget(tx, *OF_IDENTITY))
            return now
    now = await refresh(desk)
    if SELF_SIGNING not in now.held:
        log.warning("the server did not keep the identity that was made for %s", desk.user_id)
        return now
    log.info("made the cross-signing identity of %s", desk.user_id)
    return await sign_this_device(desk)


async def reset(desk: Desk, *, password: str) -> Situation:
    """Make a new identity in place of one whose private keys are lost. Everybody sees that it changed.

    Raises:
        PasswordNeeded: the password is wrong; the old identity stays.
    """

    def made(tx: Transaction) -> tuple[dict[str, HiddenBytes], JSONObject]:
        old = {name: stored_secrets.get(tx, name) for name in OF_IDENTITY}
        cross_signing.create(tx)
        return {name: key for name, key in old.items() if key is not None}, cross_signing.upload(tx)

    def undone(tx: Transaction) -> None:
        stored_secrets.forget(tx, *OF_IDENTITY)
        for name, key in old.items():
            stored_secrets.put(tx, name, key)

    await refresh(desk)
    old, body = await desk.write(made)
    try:
        await with_password(
            desk, lambda auth: identity_requests.upload_identity(body, auth), password=password
        )
    except Rejected:
        await desk.write(undone)
        raise
    await refresh(desk)
    return await sign_this_device(desk)


def _made(tx: Transaction) -> JSONObject:
    if not stored_secrets.held(tx) >= OF_IDENTITY:
        cross_signing.create(tx)
    return cross_signing.upload(tx)


async def with_password(
    desk: Desk, make: Callable[[JSONObject | None], Request], *, password: str | None
) -> None:
    """Send a request for which servers may ask for the password, with it where they do.

    Raises:
        PasswordNeeded: one does, and there is none, or it is wrong.
    """
    try:
        await desk.call(make(None))
    except PasswordNeeded as error:
        if password is None:
            raise
        again = make(identity_requests.password_auth(desk.user_id, password, error.session))
        await desk.call(again)
