"""The composition root: puts one client's parts together. The only file that chooses adapters."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from matrixdata.carrier import Courier, Keys
from matrixdata.collection import Directory, Services
from matrixdata.protocol.batch import ENCRYPTED_CONTENT_BYTES
from matrixdata.protocol.canonical import MAX_CONTENT_BYTES
from matrixdata.publishing import Acceptance, Readback, Receipts, Sealing, Sender, review
from matrixdata.receiving import (
    Backfill,
    Feed,
    Freshness,
    Intake,
    KeyIntake,
    Late,
    Rollback,
    Standings,
    SyncLoop,
    choose_source,
)
from matrixdata.replica.packing import Packing

if TYPE_CHECKING:
    from matrixdata.client.trust import Trust
    from matrixdata.model.unlock import Unlock
    from matrixdata.replica.store import Store
    from matrixdata.transport.caller import Caller
    from matrixdata.transport.session import SessionTransport


def _now() -> int:
    return time.time_ns() // 1000


def _new_id() -> str:
    return secrets.token_urlsafe(16)


@dataclass(frozen=True, slots=True)
class Environment:
    """What a client takes from the world besides its server and its disk; tests pass their own.

    Attributes:
        clock: microseconds since 1970 UTC.
        new_id: fresh ids of at least 128 random bits, safe in URLs.
        chance: numbers in [0, 1), for jitter.
    """

    clock: Callable[[], int] = _now
    new_id: Callable[[], str] = _new_id
    chance: Callable[[], float] = random.random


def _pickle_key(store: Store) -> bytes:
    """What the store's secrets are sealed with; kept outside its database."""
    from matrixdata.encryption.vault import pickle_key, system_keyring  # noqa: PLC0415  not at `import matrixdata`

    in_use = store.keys.is_in_use()
    return pickle_key(store.directory, find_keyring=system_keyring, in_use=in_use)


def _batch_limit(intake: Intake, room_id: str) -> int:
    """Bytes that a batch's content may take; in a room of which nothing is known, as in an encrypted one."""
    rules = intake.known_rules(room_id)
    return ENCRYPTED_CONTENT_BYTES if rules is None or rules.encrypted else MAX_CONTENT_BYTES


class Composition:
    """The parts of one client that is open.

    Args:
        check: raises if the client cannot be used any more.
    """

    def __init__(
        self,
        store: Store,
        transport: SessionTransport,
        world: Environment,
        *,
        caller: Caller,
        feed: Feed,
        check: Callable[[], None],
    ) -> None:
        self._rooms, self._transport, self._world = store.rooms, transport, world
        user_id, receipts = transport.session.user_id, Receipts()
        store.outbox.on_change.append(receipts.update)
        store.rooms.on_commit.append(feed.wake)
        keys = Keys(
            store.keys,
            who=lambda: transport.session,
            pickle_key=partial(_pickle_key, store),
            clock=world.clock,
            new_id=world.new_id,
        )
        intake = Intake(
            store.rooms, store.outbox, store.unread, keys, user_id=user_id, footprint=store.footprint
        )
        packing = Packing(limit=partial(_batch_limit, intake), new_id=world.new_id)
        late = Late(store.unread, intake, store.rooms, store.keys)
        keys.on_received.append(late.received)
        standing = Standings(
            caller,
            store.rooms,
            intake,
            user_id=user_id,
            followed=self._followed,
            clock=world.clock,
        )
        self.courier = Courier(keys, caller, store.keys.lease, chance=world.chance)
        from matrixdata.carrier.past import Past  # noqa: PLC0415  cryptography is loaded by who connects

        self.past = Past(keys, self.courier, caller, chance=world.chance)
        self._readback = Readback(
            caller, store.rooms, who=lambda: transport.session, clock=world.clock, keys=keys
        )
        sealing = Sealing(keys, self.courier, caller, store.outbox, store.rooms, followed=self._followed)
        self.sender = Sender(
            caller,
            store.outbox,
            receipts,
            store.send_lease,
            readback=self._readback,
            sealing=sealing,
            barred=standing.barred,
            pack=partial(store.outbox.pack, packing=packing),
            usable=transport.usable,
            clock=world.clock,
            chance=world.chance,
        )
        self.backfill = Backfill(caller, store.rooms, intake)
        self.loop = SyncLoop(
            store.rooms,
            store.sharing,
            intake,
            store.sync_lease,
            keys=KeyIntake(keys, self.courier, store.rooms, late),
            rollback=Rollback(
                caller,
                store.rooms,
                intake,
                store.outbox,
                user_id=user_id,
                new_id=world.new_id,
                tell=store.sharing.tell,
            ),
            choose_source=partial(choose_source, caller, store.rooms),
            usable=transport.usable,
            chance=world.chance,
            clock=world.clock,
            on_change=feed.wake,
            on_gap=self.backfill.ask,
            on_foreign=self._heard,
        )
        self.services = Services(
            user_id=user_id,
            homeserver=transport.session.homeserver,
            caller=caller,
            account=store.account,
            outbox=store.outbox,
            jobs=store.jobs,
            rooms=store.rooms,
            intake=intake,
            acceptance=Acceptance(
                store.outbox, receipts, store.quota, user_id=user_id, clock=world.clock, packing=packing
            ),
            receipts=receipts,
            sender=self.sender,
            freshness=Freshness(caller, store.rooms, self.loop, self.backfill, feed),
            feed=feed,
            standing=standing,
            clock=world.clock,
            new_id=world.new_id,
            check=check,
            quota=store.quota,
            keys=keys,
            late=late,
            unread=store.unread,
            sealing=sealing,
            past=self.past,
        )
        self.directory = Directory(self.services)

    def trust(self, caller: Caller, unlock: Unlock) -> Trust:
        """What is about keys and identities."""
        from matrixdata.client.trust import Trust  # noqa: PLC0415  cryptography is loaded by who connects

        keys, check, transport = self.services.keys, self.services.check, self._transport
        return Trust(
            keys,
            self.courier,
            caller,
            unlock,
            self._world,
            who=lambda: transport.session,
            listen=self.loop.listen,
            check=check,
        )

    def _followed(self) -> Collection[str]:
        """The rooms of which this process surely has what the server has."""
        return self.loop.live if self.loop.failing is None else ()

    async def _heard(self) -> None:
        """Another process on this store may have committed something."""
        self.services.standing.forget()
        await self.services.intake.refresh()
        if self._rooms.attending:
            await review(self.services.receipts, self._readback.arrived)
