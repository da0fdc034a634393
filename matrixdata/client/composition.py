"""The composition root: puts one client's parts together. The only file that chooses adapters."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from matrixdata.collection import Directory, Services
from matrixdata.publishing import Acceptance, Readback, Receipts, Sender, review
from matrixdata.receiving import (
    Backfill,
    Feed,
    Freshness,
    Intake,
    Rollback,
    Standings,
    SyncLoop,
    choose_source,
)

if TYPE_CHECKING:
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
        self._rooms = store.rooms
        user_id, receipts = transport.session.user_id, Receipts()
        store.outbox.on_change.append(receipts.update)
        store.rooms.on_commit.append(feed.wake)
        intake = Intake(store.rooms, store.outbox, user_id=user_id, footprint=store.footprint)
        standing = Standings(
            caller,
            store.rooms,
            intake,
            user_id=user_id,
            followed=lambda: self.loop.live if self.loop.failing is None else (),
            clock=world.clock,
        )
        self._readback = Readback(caller, store.rooms, who=lambda: transport.session, clock=world.clock)
        self.sender = Sender(
            caller,
            store.outbox,
            receipts,
            store.send_lease,
            readback=self._readback,
            barred=standing.barred,
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
                store.outbox, receipts, store.quota, user_id=user_id, clock=world.clock, new_id=world.new_id
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
        )
        self.directory = Directory(self.services)

    async def _heard(self) -> None:
        """Another process on this store may have committed something."""
        self.services.standing.forget()
        await self.services.intake.refresh()
        if self._rooms.attending:
            await review(self.services.receipts, self._readback.arrived)
