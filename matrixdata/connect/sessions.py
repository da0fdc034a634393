"""Which session to use: the token given, the one saved, or a new login. Logging in is done by one process at a time."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec

from matrixdata.errors import Conflict, LoggedOut, NotSent, Unknown
from matrixdata.model.session import Session
from matrixdata.protocol import requests
from matrixdata.protocol.sync import MalformedResponse, decode
from matrixdata.transport.caller import Caller
from matrixdata.transport.http import HttpTransport, is_token
from matrixdata.transport.session import SessionTransport, alone

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.connect.secret import Secret
    from matrixdata.replica.store import Store

T = TypeVar("T")
# A person waits for a login: an address that does not answer is said so soon.
_PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What somebody connects with."""

    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    recovery_key: Secret | None = None


# Appendices, "User Identifiers": at most 255 bytes. A device id is opaque; what is longer than that is none.
_UserId = Annotated[str, msgspec.Meta(pattern="^@[^:]*:.", max_length=255)]
_DeviceId = Annotated[str, msgspec.Meta(max_length=255)]


class _LoggedIn(msgspec.Struct):
    user_id: _UserId
    device_id: _DeviceId
    access_token: str
    refresh_token: str | None = None
    expires_in_ms: int | None = None

    def __repr__(self) -> str:
        return f"<login of {self.user_id}>"


class _Who(msgspec.Struct):
    user_id: _UserId
    device_id: _DeviceId = ""


def wall_clock() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def same_user(given: str, user_id: str) -> bool:
    """Whether `ada` or `@ada:example.org` means this user; which server a bare name is on, the login says."""
    return given == user_id if given.startswith("@") else user_id.startswith(f"@{given}:")


async def owner(url: str, token: Secret) -> str:
    """The user whose access token this is."""
    http = HttpTransport(url)
    try:
        http.use_token(token.text)
        return (await _who(Caller(http))).user_id
    finally:
        await http.aclose()


async def session_for(
    http: HttpTransport,
    store: Store,
    saved: Session | None,
    homeserver: str,
    credentials: Credentials,
    *,
    check: Callable[[Session], None],
) -> SessionTransport:
    """A transport with a session, which is the stored one when this returns.

    Args:
        http: sends to `homeserver`, for nobody yet.
        store: where the session is stored.
        saved: the session stored when this began.
        homeserver: its address, which may have changed since the session was stored.
        credentials: what somebody connects with.
        check: raises if this store may not take that session.

    Raises:
        LoggedOut: there is no session, or it is over, and no password to begin another.
        Rejected: the server refuses the login.
        NotSent, Unknown: the server does not answer, and must for this.
    """
    if credentials.token is not None:
        session = await _given(http, saved, homeserver, credentials.token)
        if credentials.user is not None and not same_user(credentials.user, session.user_id):
            raise Conflict(f"this token is of {session.user_id}, not of {credentials.user}")
        check(session)
        if session != saved:
            await store.account.save_session(session)
        return _transport(http, session, store)
    refusal, tried = LoggedOut(message="this profile is logged out" if saved else ""), None
    if saved is not None and saved.access_token is not None:
        if homeserver != saved.homeserver:
            await store.account.move(homeserver)
        transport = _transport(http, replace(saved, homeserver=homeserver), store)
        gone = await _refused(transport) if credentials.password is not None else None
        if gone is None:
            return transport
        refusal, tried = gone, transport.session.access_token
    if credentials.password is None or credentials.user is None:
        raise refusal
    if not credentials.password.is_text:
        raise ValueError("the password holds half a surrogate pair, which cannot be sent")
    async with alone(store.session_lease):
        stored = await store.account.session()
        if stored is not None and stored.access_token not in {None, tried}:
            return _transport(http, stored, store)  # another process was quicker
        # The server has forgotten a device that was logged out, and its transaction ids: it must not come back.
        device_id = stored.device_id if stored is not None and refusal.soft else None
        session = await _login(http, homeserver, credentials.user, credentials.password, device_id)
        check(session)
        await store.account.save_session(session)
    return _transport(http, session, store)


def _transport(http: HttpTransport, session: Session, store: Store) -> SessionTransport:
    return SessionTransport(http, session, keeper=store.account, lock=store.session_lease, clock=wall_clock)


async def _given(http: HttpTransport, saved: Session | None, homeserver: str, token: Secret) -> Session:
    """The session of an access token that somebody brought."""
    http.use_token(token.text)
    who = await _who(Caller(http))
    if saved is not None and saved.access_token == token.text:
        return replace(saved, homeserver=homeserver)
    return Session(homeserver, who.user_id, who.device_id, token.text)


async def _refused(transport: SessionTransport) -> LoggedOut | None:
    """Why the session is over; None if it serves. Unreachable is not over: offline, the store is there to be used."""
    try:
        await _who(Caller(transport), patience=0)
    except LoggedOut as error:
        return error
    except (NotSent, Unknown):
        return None
    return None


async def _login(
    http: HttpTransport, homeserver: str, user: str, password: Secret, device_id: str | None
) -> Session:
    http.use_token(None)
    obtained_at = wall_clock()
    name = f"matrixdata on {platform.node() or 'a computer'}"
    request = requests.login(user, password.text, device_name=name, device_id=device_id)
    found = _answer(await Caller(http).call(request, patience=_PATIENCE), _LoggedIn)
    if not is_token(found.access_token):
        raise Unknown("this does not answer like a homeserver (its token is none); check the address")
    return Session(
        homeserver,
        found.user_id,
        found.device_id,
        found.access_token,
        found.refresh_token,
        None if found.expires_in_ms is None else max(found.expires_in_ms, 0) / 1000,
        obtained_at,
    )


async def _who(caller: Caller, *, patience: float = _PATIENCE) -> _Who:
    return _answer(await caller.call(requests.whoami(), patience=patience), _Who)


def _answer(body: bytes, shape: type[T]) -> T:
    try:
        answer: T = decode(body, shape)
    except MalformedResponse as error:
        said = str(error)
    else:
        return answer
    del body  # it may hold tokens, and tracebacks may show variables
    raise Unknown(f"this does not answer like a homeserver ({said}); check the address")
