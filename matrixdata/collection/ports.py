"""What a collection works with: chosen by the client, the same for every collection of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from matrixdata.carrier import Keys
from matrixdata.errors import Unsupported
from matrixdata.publishing import Acceptance, Receipts, Sealing, Sender
from matrixdata.receiving import Feed, Freshness, Intake, Late, Sources, Standings
from matrixdata.replica.account import Account
from matrixdata.replica.jobs import Jobs
from matrixdata.replica.outbox import Outbox
from matrixdata.replica.quota import Quota
from matrixdata.replica.rooms import Rooms
from matrixdata.replica.unread import Unread
from matrixdata.transport.caller import Caller

if TYPE_CHECKING:
    from matrixdata.carrier.past import Past


class Services(msgspec.Struct, frozen=True):
    """The parts of one client.

    Attributes:
        clock: microseconds since 1970 UTC.
        new_id: fresh ids of at least 128 random bits.
        check: raises when the client can no longer be used.
    """

    user_id: str
    homeserver: str
    caller: Caller
    account: Account
    outbox: Outbox
    jobs: Jobs
    rooms: Rooms
    intake: Intake
    acceptance: Acceptance
    receipts: Receipts
    sender: Sender
    freshness: Freshness
    feed: Feed
    standing: Standings
    clock: Callable[[], int]
    new_id: Callable[[], str]
    check: Callable[[], None]
    quota: Quota
    keys: Keys
    late: Late
    unread: Unread
    sealing: Sealing
    past: Past

    @property
    def reads(self) -> bool:
        """Whether this client keeps a replica, which all reading is from."""
        return self.quota.footprint.replica == "full"

    def check_reading(self) -> None:
        """As `check`; and raise Unsupported for a client that only publishes."""
        self.check()
        if not self.reads:
            raise Unsupported("reading", 'this client only publishes; connect with replica="full" to read')

    @property
    def replica(self) -> str:
        """Name of the replica that change numbers belong to; another once it had to be rebuilt."""
        return self.rooms.replica

    @property
    def sources(self) -> Sources:
        """What subscriptions read from."""
        return Sources(self.rooms, self.account, self.feed, self.freshness, self.standing, self.replica)
