"""The flow in: from a sync response to committed rows and woken subscribers."""

from matrixdata.receiving.arrivals import Overflow, Wanted
from matrixdata.receiving.backfill import Backfill, SyncProgress
from matrixdata.receiving.beginning import Sources, Start
from matrixdata.receiving.choosing import choose_source
from matrixdata.receiving.feed import Feed
from matrixdata.receiving.freshness import Freshness
from matrixdata.receiving.intake import Intake
from matrixdata.receiving.key_intake import KeyIntake
from matrixdata.receiving.late import Late
from matrixdata.receiving.rollback import Rollback
from matrixdata.receiving.sources import SlidingSource, Source, V2Source
from matrixdata.receiving.standing import Standings
from matrixdata.receiving.stream import AsyncStream
from matrixdata.receiving.subscription import AsyncSubscription
from matrixdata.receiving.syncing import SyncLoop

__all__ = [
    "AsyncStream",
    "AsyncSubscription",
    "Backfill",
    "Feed",
    "Freshness",
    "Intake",
    "KeyIntake",
    "Late",
    "Overflow",
    "Rollback",
    "SlidingSource",
    "Source",
    "Sources",
    "Standings",
    "Start",
    "SyncLoop",
    "SyncProgress",
    "V2Source",
    "Wanted",
    "choose_source",
]
