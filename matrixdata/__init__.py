"""matrixdata: Matrix rooms as synced, schema-validated JSON collections.

    import matrixdata as md

    client = md.connect("local")

Every public name is here, loaded when first used; importing the package itself is quick.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matrixdata.client import AsyncClient as AsyncClient
    from matrixdata.collection import AsyncCollection as AsyncCollection
    from matrixdata.collection import AsyncQuery as AsyncQuery
    from matrixdata.collection import CollectionInfo as CollectionInfo
    from matrixdata.collection import HistoryEvent as HistoryEvent
    from matrixdata.collection import Member as Member
    from matrixdata.collection import PublishReport as PublishReport
    from matrixdata.collection import StateEvent as StateEvent
    from matrixdata.collection.checking import validate as validate
    from matrixdata.collection.status import Status as Status
    from matrixdata.connect import Client as Client
    from matrixdata.connect import Collection as Collection
    from matrixdata.connect import Publisher as Publisher
    from matrixdata.connect import Query as Query
    from matrixdata.connect import Receipt as Receipt
    from matrixdata.connect import Subscription as Subscription
    from matrixdata.connect import connect as connect
    from matrixdata.connect import connect_async as connect_async
    from matrixdata.connect import default_profile as default_profile
    from matrixdata.connect import set_default_profile as set_default_profile
    from matrixdata.connect.local import LocalServer as LocalServer
    from matrixdata.errors import ClientClosed as ClientClosed
    from matrixdata.errors import Conflict as Conflict
    from matrixdata.errors import CursorLocked as CursorLocked
    from matrixdata.errors import DeviceUntrusted as DeviceUntrusted
    from matrixdata.errors import FellBehind as FellBehind
    from matrixdata.errors import ForkedClient as ForkedClient
    from matrixdata.errors import Incomplete as Incomplete
    from matrixdata.errors import IncompleteWarning as IncompleteWarning
    from matrixdata.errors import KeyMissing as KeyMissing
    from matrixdata.errors import LoggedOut as LoggedOut
    from matrixdata.errors import MatrixDataError as MatrixDataError
    from matrixdata.errors import MissingExtra as MissingExtra
    from matrixdata.errors import NotFound as NotFound
    from matrixdata.errors import NotSent as NotSent
    from matrixdata.errors import NotVerified as NotVerified
    from matrixdata.errors import PaginationLoop as PaginationLoop
    from matrixdata.errors import PasswordNeeded as PasswordNeeded
    from matrixdata.errors import RateLimited as RateLimited
    from matrixdata.errors import RecordInvalid as RecordInvalid
    from matrixdata.errors import Rejected as Rejected
    from matrixdata.errors import RoomLeft as RoomLeft
    from matrixdata.errors import RoomReplaced as RoomReplaced
    from matrixdata.errors import SchemaError as SchemaError
    from matrixdata.errors import ServerRolledBack as ServerRolledBack
    from matrixdata.errors import SqlError as SqlError
    from matrixdata.errors import StoreCorrupt as StoreCorrupt
    from matrixdata.errors import StoreFull as StoreFull
    from matrixdata.errors import StoreLocked as StoreLocked
    from matrixdata.errors import Tampered as Tampered
    from matrixdata.errors import TooLarge as TooLarge
    from matrixdata.errors import Unknown as Unknown
    from matrixdata.errors import Unsupported as Unsupported
    from matrixdata.errors import UpgradePending as UpgradePending
    from matrixdata.errors import WrongKey as WrongKey
    from matrixdata.model import CaughtUp as CaughtUp
    from matrixdata.model import Completeness as Completeness
    from matrixdata.model import Dropped as Dropped
    from matrixdata.model import Gap as Gap
    from matrixdata.model import GapFilled as GapFilled
    from matrixdata.model import Invalid as Invalid
    from matrixdata.model import InvalidRecord as InvalidRecord
    from matrixdata.model import Position as Position
    from matrixdata.model import Problem as Problem
    from matrixdata.model import Rebuilt as Rebuilt
    from matrixdata.model import Reconnected as Reconnected
    from matrixdata.model import Record as Record
    from matrixdata.model import Redacted as Redacted
    from matrixdata.model import RowState as RowState
    from matrixdata.validation import ValidationReport as ValidationReport

__version__ = "0.1.0"

_HOMES = {
    "client": ("AsyncClient",),
    "collection": (
        "AsyncCollection", "AsyncQuery", "CollectionInfo", "HistoryEvent", "Member", "PublishReport", "StateEvent",
    ),
    "collection.checking": ("validate",),
    "collection.status": ("Status",),
    "connect": (
        "Client", "Collection", "Publisher", "Query", "Receipt", "Subscription", "connect",
        "connect_async", "default_profile", "set_default_profile",
    ),
    "connect.local": ("LocalServer",),
    "errors": (
        "ClientClosed", "Conflict", "CursorLocked", "DeviceUntrusted", "FellBehind", "ForkedClient", "Incomplete",
        "IncompleteWarning", "KeyMissing", "LoggedOut", "MatrixDataError", "MissingExtra", "NotFound", "NotSent",
        "NotVerified", "PaginationLoop", "PasswordNeeded", "RateLimited", "RecordInvalid", "Rejected", "RoomLeft",
        "RoomReplaced", "SchemaError", "ServerRolledBack", "SqlError", "StoreCorrupt", "StoreFull", "StoreLocked",
        "Tampered", "TooLarge", "Unknown", "Unsupported", "UpgradePending", "WrongKey",
    ),
    "model": (
        "CaughtUp", "Completeness", "Dropped", "Gap", "GapFilled", "Invalid", "InvalidRecord", "Position",
        "Problem", "Rebuilt", "Reconnected", "Record", "Redacted", "RowState",
    ),
    "validation": ("ValidationReport",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [*_HOME_OF]  # noqa: PLE0604  a list of str, spelled by the table above


class _Package(ModuleType):
    """This package, in which `connect` is the function although a subpackage has that name too.

    The import system binds a subpackage in its parent when it is first imported, by whomever, and so would
    replace the function at any time.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name == "connect" and isinstance(value, ModuleType):
            value = value.connect
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'matrixdata' has no attribute {name!r}")
    value = getattr(import_module(f"matrixdata.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
