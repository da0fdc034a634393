"""connect() and connect_async(): from an address, or nothing at all, to an open client."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from matrixdata.connect.blocking import Client
from matrixdata.connect.login import client_for
from matrixdata.connect.paths import server_directory
from matrixdata.connect.portal import Portal
from matrixdata.connect.progress import starting_bar
from matrixdata.connect.secret import hidden
from matrixdata.replica.footprint import checked_footprint

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable

    from matrixdata.client import AsyncClient
    from matrixdata.replica.footprint import OnFull, Replica


def connect(
    homeserver: str | None = None,
    *,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    recovery_key: str | None = None,
    profile: str | None = None,
    store: str | os.PathLike[str] | None = None,
    insecure: bool = False,
    ephemeral: bool = False,
    replica: Replica = "full",
    store_limit: str | int | None = None,
    on_full: OnFull = "refuse",
) -> Client:
    """Open a client for code that is not async.

    Without arguments: the saved default profile (`matrixdata login` saves one). `connect("local")`: the
    embedded homeserver, started or reused, as its user "me" (or `user`). Otherwise a homeserver's address, or a
    server name to find it by, with user= and password=, or token=. A profile that is logged in opens without a
    network.

    Args:
        homeserver: "local", a homeserver's base address such as "https://matrix.example.org", or the name that
            user ids end in, as "example.org" or "@ada:example.org"; `client.homeserver` then is what was found.
        user: Matrix user id, or its part before the colon.
        password: used only while there is no valid session; never stored.
        token: an access token to use as it is.
        recovery_key: of the account, or the passphrase it was made from: a new device reads everything at once. Used
            only until this device is signed; never stored. Else the environment variable MATRIXDATA_RECOVERY_KEY.
        profile: a name for this login on this machine; by default one for each user and server.
        store: a directory for replica and outbox; by default below the user's data directory.
        insecure: allow plain http to another machine.
        ephemeral: keep nothing on this machine, as in a hosted notebook: a store of its own, removed by `close()`,
            which also ends the session on the server (but not one that came as token=). Closing waits at most 5 s
            for what is queued, and warns with a list of what was never sent.
        replica: "none" for a device that only publishes: nothing is synced or kept but what is on its way out, and
            what checks it; queries and subscriptions raise Unsupported.
        store_limit: bytes, or text such as "64MB", that the store may take on disk before publishing is refused.
        on_full: then "refuse" raises StoreFull; "drop_oldest" drops the oldest records that were not sent yet,
            which `client.status().dropped` counts.

    Raises:
        NotFound: nothing is saved to connect to; the message says how to log in.
        Rejected: the server refuses the login.
        NotSent: the server cannot be reached and there is no saved session.
        MissingExtra: "local" without the extra `server`.
        WrongKey: the recovery key is not the one of this account.
    """
    footprint = checked_footprint(replica, store_limit, on_full)
    hidden_password, hidden_token, hidden_key = hidden(password), hidden(token), hidden(recovery_key)
    del password, token, recovery_key  # a traceback that shows variables must not show these
    with starting_bar(partial(_must_start, homeserver)):
        return open_blocking(
            partial(
                client_for,
                homeserver,
                user=user,
                password=hidden_password,
                token=hidden_token,
                recovery_key=hidden_key,
                profile=profile,
                store=store,
                insecure=insecure,
                ephemeral=ephemeral,
                footprint=footprint,
            )
        )


def _must_start(homeserver: str | None) -> bool:
    """Whether connecting has to start the embedded homeserver first."""
    if homeserver != "local":
        return False
    from matrixdata.homeserver import status  # noqa: PLC0415  most clients never touch the embedded server

    return not status(server_directory()).answering


@asynccontextmanager
async def connect_async(
    homeserver: str | None = None,
    *,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    recovery_key: str | None = None,
    profile: str | None = None,
    store: str | os.PathLike[str] | None = None,
    insecure: bool = False,
    ephemeral: bool = False,
    replica: Replica = "full",
    store_limit: str | int | None = None,
    on_full: OnFull = "refuse",
) -> AsyncGenerator[AsyncClient]:
    """Open a client for asyncio or trio, in an `async with` block; the arguments are those of `connect`."""
    footprint = checked_footprint(replica, store_limit, on_full)
    hidden_password, hidden_token, hidden_key = hidden(password), hidden(token), hidden(recovery_key)
    del password, token, recovery_key  # as in `connect`
    client = await client_for(
        homeserver,
        user=user,
        password=hidden_password,
        token=hidden_token,
        recovery_key=hidden_key,
        profile=profile,
        store=store,
        insecure=insecure,
        ephemeral=ephemeral,
        footprint=footprint,
    )
    async with client:
        yield client


def open_blocking(make: Callable[[], Awaitable[AsyncClient]]) -> Client:
    """A blocking client in a portal of its own."""
    portal = Portal()
    try:
        return Client(portal, portal.host(make))
    except BaseException:
        portal.close()
        raise
