"""The public entrance: connect(), LocalServer, profiles and the blocking faces."""

from matrixdata.connect.blocking import Client, Collection, Invite
from matrixdata.connect.connecting import connect, connect_async
from matrixdata.connect.local import LocalServer
from matrixdata.connect.paths import default_profile, set_default_profile
from matrixdata.connect.reading import Outbox, Query, Receipt, Subscription, Table

__all__ = [
    "Client",
    "Collection",
    "Invite",
    "LocalServer",
    "Outbox",
    "Query",
    "Receipt",
    "Subscription",
    "Table",
    "connect",
    "connect_async",
    "default_profile",
    "set_default_profile",
]
