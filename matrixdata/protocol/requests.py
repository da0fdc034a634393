"""Builders for the dozen client-server endpoints we use. Pure data: nothing here sends anything.

Paths follow the Matrix client-server API v1.15. Each segment is percent-encoded on its own, and the
segments "." and ".." are spelled %2E: an HTTP library would otherwise normalise them away and write to
another key (measured).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlencode

import msgspec

from matrixdata.model.hidden import HiddenBytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matrixdata.model.json import JSON

Kind = Literal["send", "other"]
# Seconds without a byte from the server after which an answer to a sent event is given up.
SEND_TIMEOUT = 15.0
V3 = "/_matrix/client/v3"
SLIDING = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, ready to send.

    Attributes:
        path: percent-encoded path with its query string.
        body: exact bytes of a JSON body; None for no body. It may hold a password, so no repr shows it.
        idempotent: sending it twice does what sending it once does, so it may be retried when the outcome
            of the first is unknown.
        authenticated: carries the access token.
        timeout: seconds without a byte from the server after which the answer is given up.
        secret: this body, or the answer's, holds a password or token: never logged, and bytes that hide it.
        kind: servers limit the rate of sending apart from that of all else.
        file: the body, or the answer's, is a file of the media repository and no JSON.
    """

    method: str
    path: str
    body: bytes | None = field(default=None, repr=False)
    idempotent: bool = True
    authenticated: bool = True
    timeout: float = 30.0
    secret: bool = False
    kind: Kind = "other"
    file: bool = False


def segment(text: str) -> str:
    """One path segment, percent-encoded so that no HTTP library can change its meaning."""
    if text in {".", ".."}:
        return text.replace(".", "%2E")
    return quote(text, safe="")


def path(*segments: str, prefix: str = V3, query: Mapping[str, str | int | None] | None = None) -> str:
    """A path of encoded segments, with those query parameters that are not None."""
    given = {key: value for key, value in (query or {}).items() if value is not None}
    return prefix + "".join(f"/{segment(s)}" for s in segments) + (f"?{urlencode(given)}" if given else "")


def _json(value: JSON) -> bytes:
    return msgspec.json.encode(value)


# -- sessions -----------------------------------------------------------------------------------------------
def versions() -> Request:
    """GET /versions: what the server speaks; needs no login."""
    return Request("GET", "/_matrix/client/versions", authenticated=False, timeout=10)


def login(user: str, password: str, *, device_name: str, device_id: str | None = None) -> Request:
    """POST /login with a password. A lost answer leaves an unused device behind, so it is not retried.

    It asks for a refresh token; servers that have none to give ignore that.
    """
    body: dict[str, JSON] = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user},
        "password": password,
        "initial_device_display_name": device_name,
        "refresh_token": True,
    }
    if device_id:
        body["device_id"] = device_id
    hidden = HiddenBytes(_json(body))
    return Request("POST", path("login"), hidden, idempotent=False, authenticated=False, secret=True)


def refresh(refresh_token: str) -> Request:
    """POST /refresh: the next access token. The old refresh token serves until the new access token is used.

    Doing it twice with one refresh token revokes what the first gave (measured): only who holds the store's
    session lock may send this.
    """
    body = HiddenBytes(_json({"refresh_token": refresh_token}))
    return Request(
        "POST", path("refresh"), body, idempotent=False, authenticated=False, timeout=10, secret=True
    )


def logout() -> Request:
    """POST /logout: ends this device's session."""
    return Request("POST", path("logout"), b"{}")


def whoami() -> Request:
    """GET /account/whoami: the user and device a token belongs to."""
    return Request("GET", path("account", "whoami"), secret=True)


# -- rooms --------------------------------------------------------------------------------------------------
def create_room(body: dict[str, JSON]) -> Request:
    """POST /createRoom. Not idempotent: a lost answer may have made a room (see replica.account, intents)."""
    return Request("POST", path("createRoom"), _json(body), idempotent=False, timeout=60)


def join(room_id_or_alias: str, *, via: tuple[str, ...] = ()) -> Request:
    """POST /join/{roomIdOrAlias}; joining twice is joining once. `via` names servers that know the room."""
    where = path("join", room_id_or_alias)
    if via:
        where += "?" + urlencode([("via", server) for server in via])
    return Request("POST", where, b"{}", timeout=90)


def leave(room_id: str) -> Request:
    """POST /rooms/{id}/leave; also declines an invite."""
    return Request("POST", path("rooms", room_id, "leave"), b"{}")


def invite(room_id: str, user_id: str) -> Request:
    """POST /rooms/{id}/invite."""
    return Request("POST", path("rooms", room_id, "invite"), _json({"user_id": user_id}))


def joined_rooms() -> Request:
    """GET /joined_rooms."""
    return Request("GET", path("joined_rooms"))


def resolve_alias(alias: str) -> Request:
    """GET /directory/room/{alias}."""
    return Request("GET", path("directory", "room", alias))


def room_state(room_id: str) -> Request:
    """GET /rooms/{id}/state: every current state event."""
    return Request("GET", path("rooms", room_id, "state"), timeout=90)


def state_event(room_id: str, event_type: str, state_key: str = "") -> Request:
    """GET one state event's content."""
    return Request("GET", path("rooms", room_id, "state", event_type, state_key))


def put_state(room_id: str, event_type: str, state_key: str, content: dict[str, JSON]) -> Request:
    """PUT one state event. Not idempotent: a blind retry can overwrite a newer value (measured)."""
    where = path("rooms", room_id, "state", event_type, state_key)
    return Request("PUT", where, _json(content), idempotent=False)


def members(room_id: str) -> Request:
    """GET /rooms/{id}/members."""
    return Request("GET", path("rooms", room_id, "members"), timeout=90)


def context(room_id: str, event_id: str) -> Request:
    """GET /rooms/{id}/context/{eventId}: the room's state around one event."""
    return Request("GET", path("rooms", room_id, "context", event_id, query={"limit": 0}), timeout=90)


# -- events -------------------------------------------------------------------------------------------------
def send_event(room_id: str, event_type: str, txn_id: str, content: bytes) -> Request:
    """PUT /send. Idempotent for one device for about a day: the same txn id gives the same event id.

    The server compares neither type nor body: a txn id used for other content silently drops that content
    (measured), so one txn id belongs to one outbox row for ever.
    """
    where = path("rooms", room_id, "send", event_type, txn_id)
    # Shorter than others: trying again joins the request that the server is still at work on.
    return Request("PUT", where, content, timeout=SEND_TIMEOUT, kind="send")


def messages(room_id: str, *, start: str | None, limit: int, stop: str | None = None) -> Request:
    """GET /messages backwards from the token `start` (None: the newest event)."""
    query = {"dir": "b", "from": start, "to": stop, "limit": limit}
    return Request("GET", path("rooms", room_id, "messages", query=query), timeout=90)


def event(room_id: str, event_id: str) -> Request:
    """GET one event: 404 M_NOT_FOUND where the server has none, or none that we may see."""
    return Request("GET", path("rooms", room_id, "event", event_id))


def events_of(room_id: str, user_id: str, types: Sequence[str], *, start: str | None, limit: int) -> Request:
    """GET /messages backwards, of one sender and some event types only (spec "Filtering", RoomEventFilter)."""
    chosen = _json({"senders": [user_id], "types": list(types)}).decode()
    query = {"dir": "b", "from": start, "limit": limit, "filter": chosen}
    return Request("GET", path("rooms", room_id, "messages", query=query), timeout=90)


# -- account data -------------------------------------------------------------------------------------------
def account_data(user_id: str, data_type: str) -> Request:
    """GET one piece of the account's global data."""
    return Request("GET", path("user", user_id, "account_data", data_type))


def put_account_data(user_id: str, data_type: str, content: dict[str, JSON]) -> Request:
    """PUT one piece of the account's global data; the last write wins."""
    return Request("PUT", path("user", user_id, "account_data", data_type), _json(content))


# -- sync ---------------------------------------------------------------------------------------------------
def sliding_sync(body: dict[str, JSON], *, pos: str | None, timeout_ms: int) -> Request:
    """POST simplified sliding sync (MSC4186), at its unstable path: servers still lack the stable one."""
    query = urlencode({"timeout": timeout_ms} | ({"pos": pos} if pos else {}))
    # The server answers after at most timeout_ms; what comes later than that plus a margin is a dead socket.
    return Request("POST", f"{SLIDING}?{query}", _json(body), timeout=timeout_ms / 1000 + 30)


def sync_v2(*, since: str | None, filter_json: str, timeout_ms: int) -> Request:
    """GET /sync with an inline filter."""
    query: dict[str, str | int | None] = {"filter": filter_json, "timeout": timeout_ms, "since": since}
    return Request("GET", path("sync", query=query), timeout=timeout_ms / 1000 + 60)
