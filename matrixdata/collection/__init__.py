"""Collections: publish, subscribe, query, history, state. Checks arguments and delegates to the flows."""

from matrixdata.collection.core import AsyncCollection
from matrixdata.collection.creation import Creation, checked_creation
from matrixdata.collection.directory import AsyncInvite, CollectionInfo, Directory
from matrixdata.collection.outbox import AsyncOutbox, OutboxEntry
from matrixdata.collection.ports import Services
from matrixdata.collection.query import AsyncQuery
from matrixdata.collection.report import PublishReport, RejectedRow
from matrixdata.collection.roles import Role
from matrixdata.collection.tables import AsyncTable, HistoryEvent, Member, StateEvent

__all__ = [
    "AsyncCollection",
    "AsyncInvite",
    "AsyncOutbox",
    "AsyncQuery",
    "AsyncTable",
    "CollectionInfo",
    "Creation",
    "Directory",
    "HistoryEvent",
    "Member",
    "OutboxEntry",
    "PublishReport",
    "RejectedRow",
    "Role",
    "Services",
    "StateEvent",
    "checked_creation",
]
