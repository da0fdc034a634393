"""Verifications that are under way in this process: asked for, taken up, compared; and what comes of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from matrixdata.encryption import (
    cross_signing,
    device_keys,
    device_lists,
    identities,
    outgoing,
    to_device,
)
from matrixdata.encryption.reading import object_at, text_at
from matrixdata.encryption.sas import METHOD, Party
from matrixdata.encryption.stored_secrets import SELF_SIGNING, USER_SIGNING
from matrixdata.encryption.verification import TIMEOUT, Verification
from matrixdata.encryption.verification_messages import PREFIX, REASONS, Message
from matrixdata.errors import NotFound, NotVerified
from matrixdata.identity import inbox, own
from matrixdata.identity.fleet import collides
from matrixdata.identity.situation import situation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matrixdata.encryption.port import ToDevice
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.identity.desk import Desk
    from matrixdata.identity.gossip import Gossip
    from matrixdata.model.json import JSONObject

log = logging.getLogger("matrixdata.identity")

_AHEAD = 300_000_000
"""Microseconds that another clock may be ahead of ours (spec: five minutes)."""


class Asked:
    """A request of ours, until one of the devices asked takes it up, or one of theirs, until we do.

    Attributes:
        verification: what came of it; None while nobody took it up.
        refused: the code with which it was refused before that.
    """

    def __init__(
        self, transaction: str, user_id: str, parties: dict[str, Party], began_at: int, *, by_us: bool
    ) -> None:
        self.transaction = transaction
        self.user_id = user_id
        self.parties = parties
        self.began_at = began_at
        self.by_us = by_us
        self.verification: Verification | None = None
        self.refused: str | None = None
        self.applied = False


class Verifications:
    """The verifications of one process. Messages for others are left in the inbox, where their processes find them."""

    def __init__(self, desk: Desk, gossip: Gossip) -> None:
        self._desk = desk
        self._gossip = gossip
        self._open: dict[str, Asked] = {}
        self._turn = anyio.Lock()

    # -- beginning --------------------------------------------------------------------------------------
    async def ask(self, user_id: str, device_id: str | None, *, direct: bool) -> Asked:
        """Ask a user's devices, or one of them, to verify each other.

        Args:
            user_id: whom; ourselves for our other devices.
            device_id: which device; None: whichever takes it up.
            direct: begin without asking, as clients without requests need it; then `device_id` must be given.

        Raises:
            NotFound: there is no such device.
            NotVerified: one of the devices passes for a cross-signing key.
        """
        await own.refresh(self._desk, *{user_id, self._desk.user_id})

        def work(tx: Transaction) -> Asked:
            parties = _parties(tx, user_id, device_id)
            asked = Asked(tx.me.new_id(), user_id, parties, tx.me.clock(), by_us=True)
            if direct and device_id is not None:
                asked.verification = self._verification(tx, asked, parties[device_id])
                _send(tx, user_id, [device_id], asked.verification.start())
            else:
                content: JSONObject = {
                    "from_device": tx.me.device_id,
                    "methods": [METHOD],
                    "timestamp": asked.began_at // 1000,
                    "transaction_id": asked.transaction,
                }
                _send(tx, user_id, parties, [Message(f"{PREFIX}request", content)])
            return asked

        asked = await self._desk.write(work)
        self._open[asked.transaction] = asked
        await self._desk.courier.deliver()
        return asked

    async def requests(self) -> list[Asked]:
        """What others ask for and nobody took up yet."""
        waiting = await self._desk.write(lambda tx: inbox.waiting(tx, PREFIX))
        senders = {
            event.sender for _, event in waiting if event.type in {f"{PREFIX}request", f"{PREFIX}start"}
        }
        if senders:
            await own.refresh(self._desk, *senders, self._desk.user_id)
        return await self._desk.read(lambda tx: [*_requests(tx, waiting, self._open)])

    async def take_up(self, asked: Asked) -> None:
        """Say yes to a request of others."""

        def work(tx: Transaction) -> None:
            party = next(iter(asked.parties.values()))
            asked.verification = self._verification(tx, asked, party)
            self._open[asked.transaction] = asked
            for number, event in inbox.waiting(tx, PREFIX):
                if _is_of(event, asked, party):
                    to_device.taken(tx, number)
                    if event.type != f"{PREFIX}request":
                        asked.verification.receive(event.type, event.content)
            _send(tx, asked.user_id, asked.parties, asked.verification.ready())

        await self._desk.write(work)
        await self._desk.courier.deliver()

    def _verification(self, tx: Transaction, asked: Asked, other: Party) -> Verification:
        _, ed25519 = device_keys.identity_keys(tx)
        now = situation(tx)
        me = Party(tx.me.user_id, tx.me.device_id, ed25519, now.master if now.trusted else None)
        return Verification(me, other, asked.transaction, asked.began_at, asked_by_us=asked.by_us)

    # -- going on ---------------------------------------------------------------------------------------
    async def act(self, asked: Asked, messages: Iterable[Message]) -> None:
        """Send what a person's decision leads to, and apply it when that ended the verification."""
        verification = asked.verification
        if verification is None:
            return
        other = verification.other
        await self._desk.write(lambda tx: _send(tx, other.user_id, [other.device_id], messages))
        await self._desk.courier.deliver()
        await self._apply(asked)

    async def withdraw(self, asked: Asked) -> None:
        """End what nobody took up yet."""
        asked.refused = "m.user"
        self._open.pop(asked.transaction, None)

        def work(tx: Transaction) -> None:
            _cancel(tx, asked, asked.parties, "m.user")
            for number, event in inbox.waiting(tx, PREFIX):
                if text_at(event.content, "transaction_id") == asked.transaction:
                    to_device.taken(tx, number)

        await self._desk.write(work)
        await self._desk.courier.deliver()

    async def attend(self) -> None:
        """Deal with what arrived for the verifications of this process, and end what took too long."""
        async with self._turn:
            if not self._open:
                return
            if await self._desk.read(inbox.is_waiting) or self._is_late():
                sent = await self._desk.write(self._attend)
                if sent:
                    await self._desk.courier.deliver()
            for asked in [*self._open.values()]:
                await self._apply(asked)

    def _is_late(self) -> bool:
        return any(self._desk.clock() - it.began_at > TIMEOUT for it in self._open.values())

    def _attend(self, tx: Transaction) -> bool:
        sent = False
        for number, event in inbox.waiting(tx, PREFIX):
            asked = self._open.get(text_at(event.content, "transaction_id") or "")
            if asked is not None and event.sender == asked.user_id:
                sent |= self._on_event(tx, asked, event)
                to_device.taken(tx, number)
        now = tx.me.clock()
        for asked in [*self._open.values()]:
            if asked.verification is not None:
                late = asked.verification.tick(now)
                _send(tx, asked.user_id, [asked.verification.other.device_id], late)
                sent |= bool(late)
            elif now - asked.began_at > TIMEOUT:
                asked.refused = "m.timeout"
                self._open.pop(asked.transaction)
        return sent

    def _on_event(self, tx: Transaction, asked: Asked, event: ToDevice) -> bool:
        if asked.verification is None and not self._taken_up(tx, asked, event):
            return False
        verification = asked.verification
        if verification is None or event.device_id not in {None, verification.other.device_id}:
            return False
        said = text_at(event.content, "from_device")
        if said not in {None, verification.other.device_id}:
            return False  # another of their devices; it has been told that this is taken up
        replies = verification.receive(event.type, event.content)
        _send(tx, asked.user_id, [verification.other.device_id], replies)
        return bool(replies)

    def _taken_up(self, tx: Transaction, asked: Asked, event: ToDevice) -> bool:
        """Whether one of the devices asked takes it up; the others are told."""
        if event.type == f"{PREFIX}cancel":
            asked.refused = text_at(event.content, "code") or "m.user"
            self._open.pop(asked.transaction, None)
            _cancel(tx, asked, asked.parties, asked.refused)
            return False
        party = asked.parties.get(text_at(event.content, "from_device") or "")
        if party is None or event.type not in {f"{PREFIX}ready", f"{PREFIX}start"}:
            return False
        asked.verification = self._verification(tx, asked, party)
        _cancel(tx, asked, [it for it in asked.parties if it != party.device_id], "m.accepted")
        return True

    # -- what comes of it -------------------------------------------------------------------------------
    async def _apply(self, asked: Asked) -> None:
        verification = asked.verification
        if verification is None or not verification.over or asked.applied:
            return
        asked.applied = True
        self._open.pop(asked.transaction, None)
        if verification.state != "done":
            return
        await self._desk.write(lambda tx: _believe(tx, verification))
        await own.refresh(self._desk, *{asked.user_id, self._desk.user_id})
        if asked.user_id == self._desk.user_id:
            await self._gossip.ask()


def _believe(tx: Transaction, verification: Verification) -> None:
    """Keep what was verified, and sign it where the keys for that are here."""
    other, me = verification.other, tx.me.user_id
    identity = identities.identity(tx, other.user_id)
    if other.master is not None and other.master in verification.verified:
        identities.set_verified(tx, other.user_id, other.master)
        if other.user_id != me and identity is not None and USER_SIGNING in situation(tx).held:
            master = object_at(identity.keys, "master")
            if identity.master == other.master:
                body = cross_signing.sign_user(tx, other.user_id, master)
                outgoing.queue(tx, "signatures", body)
    if other.user_id == me and other.ed25519 in verification.verified and SELF_SIGNING in situation(tx).held:
        device = device_lists.device(tx, me, other.device_id)
        # The key that was compared, not what the server lists under that id by now.
        if device is not None and device.ed25519 == other.ed25519:
            outgoing.queue(tx, "signatures", cross_signing.sign_device(tx, device.keys))
    log.info("verified %s, device %s", other.user_id, other.device_id)


def _parties(tx: Transaction, user_id: str, device_id: str | None) -> dict[str, Party]:
    """The devices to ask, with their keys as they are now."""
    identity = identities.identity(tx, user_id)
    listed = [
        it
        for it in device_lists.devices_of(tx, [user_id])
        if (user_id, it.device_id) != (tx.me.user_id, tx.me.device_id)
        and device_id in {None, it.device_id}
        and not it.blocked
    ]
    if not listed:
        what = f"a device {device_id}" if device_id else "another device"
        raise NotFound(f"{user_id} has not {what} that could verify")
    if any(collides(identity, it.device_id) for it in device_lists.devices_of(tx, [user_id])):
        raise NotVerified(
            f"{user_id} has a device that passes for one of their cross-signing keys: somebody tampers with the list "
            "of their devices, so nothing is verified"
        )
    master = identity.master if identity is not None else None
    return {it.device_id: Party(user_id, it.device_id, it.ed25519, master) for it in listed}


def _requests(
    tx: Transaction, waiting: list[tuple[int, ToDevice]], taken: dict[str, Asked]
) -> Iterable[Asked]:
    now = tx.me.clock()
    cancelled = {
        (event.sender, text_at(event.content, "transaction_id"))
        for _, event in waiting
        if event.type == f"{PREFIX}cancel"
    }
    seen = {*taken}
    for _, event in waiting:
        transaction, device_id = (
            text_at(event.content, "transaction_id"),
            text_at(event.content, "from_device"),
        )
        if transaction is None or device_id is None or transaction in seen:
            continue
        stamp = event.content.get("timestamp")
        at = stamp * 1000 if isinstance(stamp, int) and event.type == f"{PREFIX}request" else now
        known = event.type in {f"{PREFIX}request", f"{PREFIX}start"}
        if not known or (event.sender, transaction) in cancelled or not -_AHEAD < now - at < TIMEOUT:
            continue
        try:
            parties = _parties(tx, event.sender, device_id)
        except (NotFound, NotVerified) as error:
            log.info("ignored a request for verification: %s", error)
            continue
        seen.add(transaction)
        yield Asked(transaction, event.sender, parties, min(at, now), by_us=False)


def _is_of(event: ToDevice, asked: Asked, party: Party) -> bool:
    return (
        event.sender == asked.user_id
        and text_at(event.content, "transaction_id") == asked.transaction
        and text_at(event.content, "from_device") in {None, party.device_id}
    )


def _cancel(tx: Transaction, asked: Asked, devices: Iterable[str], code: str) -> None:
    content: JSONObject = {
        "transaction_id": asked.transaction,
        "code": code,
        "reason": REASONS.get(code, code),
    }
    _send(tx, asked.user_id, devices, [Message(f"{PREFIX}cancel", content)])


def _send(tx: Transaction, user_id: str, devices: Iterable[str], messages: Iterable[Message]) -> None:
    devices = [*devices]
    for message in messages:
        outgoing.queue_messages(tx, message.type, [(user_id, it, message.content) for it in devices])
