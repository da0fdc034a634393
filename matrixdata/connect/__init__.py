"""The public entrance: connect(), LocalServer, profiles and the blocking faces."""

from matrixdata.connect.blocking import Client, Collection, Invite, Query, Receipt, Subscription, Table
from matrixdata.connect.connecting import connect, connect_async
from matrixdata.connect.local import LocalServer

__all__ = [
    "Client",
    "Collection",
    "Invite",
    "LocalServer",
    "Query",
    "Receipt",
    "Subscription",
    "Table",
    "connect",
    "connect_async",
]
