"""From what a user knows (address, user, password, token, profile) to a client, not yet entered."""

from __future__ import annotations

import platform
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import anyio
import anyio.to_thread
import msgspec

from matrixdata.client import AsyncClient
from matrixdata.connect import paths
from matrixdata.connect.secret import Secret
from matrixdata.errors import Conflict, LoggedOut, NotFound, NotSent, Unknown
from matrixdata.protocol import requests
from matrixdata.protocol.sync import MalformedResponse, decode
from matrixdata.replica.account import Session
from matrixdata.replica.store import Store
from matrixdata.transport import discovery
from matrixdata.transport.caller import Caller
from matrixdata.transport.http import HttpTransport, check_url

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable

    from matrixdata.homeserver import ServerAddress


T = TypeVar("T")
# A person waits for a login: an address that does not answer is said so soon.
_PATIENCE = 3.0


# Appendices, "User Identifiers": at most 255 bytes. A device id is opaque; what is longer than that is none.
_UserId = Annotated[str, msgspec.Meta(pattern="^@[^:]*:.", max_length=255)]
_DeviceId = Annotated[str, msgspec.Meta(max_length=255)]


class _LoggedIn(msgspec.Struct):
    user_id: _UserId
    device_id: _DeviceId
    access_token: str

    def __repr__(self) -> str:
        return f"<login of {self.user_id}>"


class _Who(msgspec.Struct):
    user_id: _UserId
    device_id: _DeviceId = ""


async def client_for(
    homeserver: str | None = None,
    *,
    user: str | None = None,
    password: Secret | None = None,
    token: Secret | None = None,
    profile: str | None = None,
    store: str | os.PathLike[str] | None = None,
    insecure: bool = False,
) -> AsyncClient:
    """A client for the account described; see `connect`. Asks the server only where it must."""
    if homeserver == "local":
        return await local_client(user or "me", profile=profile, store=store)
    if homeserver is None:
        directory = _directory(profile or (None if store else paths.need_default_profile()), store)
        return await _opened(directory, None, user=user, password=password, token=token)
    name = discovery.server_name(homeserver)
    if name is not None:
        user = _full_id(user or (homeserver if homeserver.startswith("@") else None), name)
        if user is not None:
            directory = _directory(profile or paths.profile_of(user, f"https://{name}"), store)
            find = partial(discovery.discover, name)
            return await _opened(directory, None, user=user, password=password, token=token, find=find)
        homeserver = await discovery.discover(name)
    url = check_url(homeserver, insecure=insecure)
    if token is not None and user is None:
        user = await _owner(url, token)
    if user is None:
        raise TypeError("give user= and password=, or token=, with the homeserver's address")
    directory = _directory(profile or paths.profile_of(user, url), store)
    return await _opened(directory, url, user=user, password=password, token=token)


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
    localpart: str, *, profile: str | None = None, store: str | os.PathLike[str] | None = None
) -> AsyncClient:
    """A client for a user of the embedded homeserver, which is started if it does not run."""
    # Late: most clients never touch the embedded server.
    from matrixdata import homeserver  # noqa: PLC0415  most clients never touch the embedded server

    directory, environment = paths.server_directory(), paths.server_environment()
    # Abandoned when interrupted: the server goes on starting by itself, and the next attempt finds it.
    start = partial(homeserver.start, directory, environment=environment)
    address = await anyio.to_thread.run_sync(start, abandon_on_cancel=True)
    chosen = _directory(profile or f"local-{localpart}", store)
    return await server_client(address, localpart, chosen)


async def server_client(address: ServerAddress, localpart: str, directory: Path) -> AsyncClient:
    """A client for a user of an embedded homeserver, registered on first use."""
    from matrixdata import homeserver  # noqa: PLC0415  as above

    password = Secret(
        await anyio.to_thread.run_sync(homeserver.register, address, localpart, abandon_on_cancel=True)
    )
    user = f"@{localpart}:{address.name}"
    # Its port may have changed since, and it has proved to be the server of that directory.
    return await _opened(directory, address.url, user=user, password=password, token=None, moved=True)


def _same_user(given: str, user_id: str) -> bool:
    """Whether `ada` or `@ada:example.org` means this user; which server a bare name is on, the login says."""
    return given == user_id if given.startswith("@") else user_id.startswith(f"@{given}:")


def _directory(profile: str | None, store: str | os.PathLike[str] | None) -> Path:
    if store is not None:
        return Path(store)
    return paths.profile_directory(profile or "default")


async def _owner(url: str, token: Secret) -> str:
    transport = HttpTransport(url)
    try:
        transport.use_token(token.text)
        return (await _who(Caller(transport))).user_id
    finally:
        await transport.aclose()


def _answer(body: bytes, shape: type[T]) -> T:
    try:
        answer: T = decode(body, shape)
    except MalformedResponse as error:
        raise Unknown(f"this does not answer like a homeserver ({error}); check the address") from error
    return answer


async def _who(caller: Caller, *, patience: float = _PATIENCE) -> _Who:
    body = await caller.call(requests.whoami(), patience=patience)
    return _answer(body, _Who)


async def _opened(
    directory: Path,
    url: str | None,
    *,
    user: str | None,
    password: Secret | None,
    token: Secret | None,
    moved: bool = False,
    find: Callable[[], Awaitable[str]] | None = None,
) -> AsyncClient:
    """The client of a store; `find` gives the address where the store has none and `url` is None."""
    store = await anyio.to_thread.run_sync(Store, directory)
    transport = None
    try:
        saved = await store.account.session()
        if saved is None and url is None and find is not None:
            url = await find()
        homeserver = _homeserver(directory, saved, url, user, moved=moved)
        transport = HttpTransport(homeserver)
        session = await _session(transport, homeserver, saved, user=user, password=password, token=token)
        if session != saved:
            _check_owner(directory, saved, session)
            await store.account.save_session(session)
        transport.use_token(session.access_token)
    except BaseException:
        with anyio.CancelScope(shield=True):
            if transport is not None:
                await transport.aclose()
            await store.aclose()
        raise
    return AsyncClient(session, store, transport)


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
    if user is not None and not _same_user(user, saved.user_id):
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


async def _session(
    transport: HttpTransport,
    homeserver: str,
    saved: Session | None,
    *,
    user: str | None,
    password: Secret | None,
    token: Secret | None,
) -> Session:
    caller = Caller(transport)
    if token is not None:
        transport.use_token(token.text)
        who = await _who(caller)
        if user is not None and not _same_user(user, who.user_id):
            raise Conflict(f"this token is of {who.user_id}, not of {user}")
        return Session(homeserver, who.user_id, who.device_id, token.text)
    if saved is not None and saved.access_token is not None:
        session = replace(saved, homeserver=homeserver)
        if password is None or await _still_valid(caller, transport, saved):
            return session
    if password is None or user is None:
        raise LoggedOut(message="this profile is logged out" if saved else "")
    if not password.is_text:
        raise ValueError("the password holds half a surrogate pair, which cannot be sent")
    transport.use_token(None)
    request = requests.login(
        user, password.text, device_name=f"matrixdata on {platform.node() or 'a computer'}",
        device_id=saved.device_id if saved else None,
    )  # fmt: skip
    found = _answer(await caller.call(request, patience=_PATIENCE), _LoggedIn)
    try:
        transport.use_token(found.access_token)
    except ValueError:
        raise Unknown(
            "this does not answer like a homeserver (its token is none); check the address"
        ) from None
    return Session(homeserver, found.user_id, found.device_id, found.access_token)


async def _still_valid(caller: Caller, transport: HttpTransport, saved: Session) -> bool:
    """Whether the saved token still serves. Unreachable is not invalid: offline, the store is there to be used."""
    transport.use_token(saved.access_token)
    try:
        await _who(caller, patience=0)
    except LoggedOut:
        return False
    except (NotSent, Unknown):
        return True
    return True
