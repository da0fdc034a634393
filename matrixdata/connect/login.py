"""From what a user knows (address, user, password, token, profile) to a client, not yet entered."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from matrixdata.client import AsyncClient
from matrixdata.connect import paths
from matrixdata.connect.ephemeral import Ephemeral, new_directory, remove
from matrixdata.connect.secret import Secret, hidden
from matrixdata.connect.sessions import Credentials, owner, same_user, session_for
from matrixdata.errors import Conflict, NotFound
from matrixdata.model.unlock import Unlock
from matrixdata.replica.footprint import EVERYTHING, Footprint
from matrixdata.replica.store import Store
from matrixdata.transport import discovery
from matrixdata.transport.http import HttpTransport, check_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from matrixdata.homeserver import ServerAddress
    from matrixdata.model.hidden import HiddenBytes
    from matrixdata.model.session import Session


async def client_for(
    homeserver: str | None = None,
    *,
    user: str | None = None,
    password: Secret | None = None,
    token: Secret | None = None,
    recovery_key: Secret | None = None,
    profile: str | None = None,
    store: str | os.PathLike[str] | None = None,
    insecure: bool = False,
    ephemeral: bool = False,
    footprint: Footprint = EVERYTHING,
) -> AsyncClient:
    """A client for the account described; see `connect`. Asks the server only where it must."""
    if ephemeral:
        if profile is not None or store is not None or homeserver is None:
            raise TypeError(
                "ephemeral=True keeps nothing: give the homeserver's address, and leave out profile= and store="
            )
        store = new_directory()
    try:
        return await _client_for(
            homeserver,
            Credentials(user, password, token, recovery_key),
            profile,
            store,
            insecure=insecure,
            ephemeral=ephemeral,
            footprint=footprint,
        )
    except BaseException:
        if ephemeral and store is not None:
            remove(Path(store))
        raise


async def _client_for(
    homeserver: str | None,
    credentials: Credentials,
    profile: str | None,
    store: str | os.PathLike[str] | None,
    *,
    insecure: bool,
    ephemeral: bool,
    footprint: Footprint,
) -> AsyncClient:
    user, token = credentials.user, credentials.token
    if homeserver == "local":
        return await local_client(
            user or "me",
            profile=profile,
            store=store,
            recovery_key=credentials.recovery_key,
            ephemeral=ephemeral,
            footprint=footprint,
        )
    if homeserver is None:
        directory = _directory(profile or (None if store else paths.need_default_profile()), store)
        return await _opened(directory, None, credentials, footprint=footprint)
    name = discovery.server_name(homeserver)
    if name is not None:
        user = _full_id(user or (homeserver if homeserver.startswith("@") else None), name)
        if user is not None:
            directory = _directory(profile or paths.profile_of(user, f"https://{name}"), store)
            find = partial(discovery.discover, name)
            named = replace(credentials, user=user)
            return await _opened(directory, None, named, find=find, ephemeral=ephemeral, footprint=footprint)
        homeserver = await discovery.discover(name)
    url = check_url(homeserver, insecure=insecure)
    if token is not None and user is None:
        user = await owner(url, token)
    if user is None:
        raise TypeError("give user= and password=, or token=, with the homeserver's address")
    directory = _directory(profile or paths.profile_of(user, url), store)
    return await _opened(
        directory, url, replace(credentials, user=user), ephemeral=ephemeral, footprint=footprint
    )


def _full_id(user: str | None, name: str) -> str | None:
    """The user's whole id on the server of that name.

    Raises:
        Conflict: the user is of another server, which must not get the password.
    """
    if user is None or (user.startswith("@") and user.endswith(f":{name}")):
        return user
    if user.startswith("@"):
        raise Conflict(f"{user} is not a user of {name}; give the address of that user's own homeserver")
    return f"@{user}:{name}"


async def local_client(
    localpart: str,
    *,
    profile: str | None = None,
    store: str | os.PathLike[str] | None = None,
    recovery_key: Secret | None = None,
    ephemeral: bool = False,
    footprint: Footprint = EVERYTHING,
) -> AsyncClient:
    """A client for a user of the embedded homeserver, which is started if it does not run."""
    # Late: most clients never touch the embedded server.
    from matrixdata import homeserver  # noqa: PLC0415  most clients never touch the embedded server

    directory, environment = paths.server_directory(), paths.server_environment()
    # Abandoned when interrupted: the server goes on starting by itself, and the next attempt finds it.
    start = partial(homeserver.start, directory, environment=environment)
    address = await anyio.to_thread.run_sync(start, abandon_on_cancel=True)
    chosen = _directory(profile or f"local-{localpart}", store)
    return await server_client(
        address, localpart, chosen, recovery_key=recovery_key, ephemeral=ephemeral, footprint=footprint
    )


async def server_client(
    address: ServerAddress,
    localpart: str,
    directory: Path,
    *,
    recovery_key: Secret | None = None,
    ephemeral: bool = False,
    footprint: Footprint = EVERYTHING,
) -> AsyncClient:
    """A client for a user of an embedded homeserver, registered on first use."""
    from matrixdata import homeserver  # noqa: PLC0415  as above

    password = Secret(
        await anyio.to_thread.run_sync(homeserver.register, address, localpart, abandon_on_cancel=True)
    )
    user = f"@{localpart}:{address.name}"
    # Its port may have changed since, and it has proved to be the server of that directory.
    return await _opened(
        directory,
        address.url,
        Credentials(user, password, recovery_key=recovery_key),
        moved=True,
        own_recovery=partial(homeserver.recovery_key, address, localpart),
        ephemeral=ephemeral,
        footprint=footprint,
    )


def _directory(profile: str | None, store: str | os.PathLike[str] | None) -> Path:
    if store is not None:
        return Path(store)
    return paths.profile_directory(profile or "default")


async def _opened(
    directory: Path,
    url: str | None,
    credentials: Credentials,
    *,
    moved: bool = False,
    find: Callable[[], Awaitable[str]] | None = None,
    own_recovery: Callable[[], HiddenBytes] | None = None,
    ephemeral: bool = False,
    footprint: Footprint = EVERYTHING,
) -> AsyncClient:
    """The client of a store; `find` gives the address where the store has none and `url` is None."""
    store = await anyio.to_thread.run_sync(partial(Store, directory, footprint=footprint))
    http = None
    try:
        saved = await store.account.session()
        if saved is None and url is None and find is not None:
            url = await find()
        homeserver = _homeserver(directory, saved, url, credentials.user, moved=moved)
        http = HttpTransport(homeserver)
        check = partial(_check_owner, directory, saved)
        transport = await session_for(http, store, saved, homeserver, credentials, check=check)
    except BaseException:
        with anyio.CancelScope(shield=True):
            if http is not None:
                await http.aclose()
            await store.aclose()
        raise
    leaving = Ephemeral(store, transport, logs_out=credentials.token is None) if ephemeral else None
    given, from_environment = credentials.recovery_key, os.environ.get("MATRIXDATA_RECOVERY_KEY")
    unlock = Unlock(
        password=credentials.password,
        recovery_key=given or hidden(from_environment or None),
        insists=given is not None,
        own_recovery=own_recovery,
    )
    return AsyncClient(store, transport, leaving=leaving, unlock=unlock)


def _homeserver(
    directory: Path, saved: Session | None, url: str | None, user: str | None, *, moved: bool
) -> str:
    """The address to use, once it is clear that this store is that user's on that server."""
    if saved is None:
        if url is None:
            raise NotFound(
                f"nobody is logged in in {directory}; pass the homeserver's address, user= and password="
            )
        return url
    if user is not None and not same_user(user, saved.user_id):
        raise _others_store(directory, saved, user)
    if url is not None and url != saved.homeserver and not moved:
        raise Conflict(
            f"the store in {directory} is for {saved.homeserver}, not {url}; a session must not be sent to another "
            "server, so give another profile= or store="
        )
    return url or saved.homeserver


def _check_owner(directory: Path, saved: Session | None, session: Session) -> None:
    """One account's outbox must never be sent as another."""
    if saved is not None and session.user_id != saved.user_id:
        raise _others_store(directory, saved, session.user_id)


def _others_store(directory: Path, saved: Session, user: str) -> Conflict:
    return Conflict(
        f"the store in {directory} belongs to {saved.user_id}; give another profile= or store= for {user}"
    )
