"""The public entrance: connect(), profiles, the blocking faces; and LocalServer, in `local`, imported when used."""

from matrixdata.connect.blocking import Client, Collection, Invite
from matrixdata.connect.connecting import connect, connect_async
from matrixdata.connect.paths import default_profile, set_default_profile
from matrixdata.connect.publisher import Publisher
from matrixdata.connect.reading import Outbox, Query, Receipt, Table
from matrixdata.connect.subscribing import Subscription

__all__ = [
    "Client",
    "Collection",
    "Invite",
    "Outbox",
    "Publisher",
    "Query",
    "Receipt",
    "Subscription",
    "Table",
    "connect",
    "connect_async",
    "default_profile",
    "set_default_profile",
]
