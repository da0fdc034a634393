"""What `matrixdata doctor` asks a homeserver: does it answer, what does it speak, its clock, our session."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import httpx
import msgspec

from matrixdata.protocol import requests
from matrixdata.transport.http import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matrixdata.model.session import Session
    from matrixdata.protocol.requests import Request

Said = tuple[str, Literal["ok", "warn", "fail"], str, str]
"""What was looked at, how it is, in words, and what to do."""

_PATIENCE = 10.0
_APART = 30.0
"""Seconds that clocks may differ: the header counts whole seconds, and answers take time."""
_SLIDING = "org.matrix.simplified_msc3575"


def ask(url: str, session: Session | None) -> Iterator[Said]:
    """Ask the server at `url`; of a session also whether it serves, with its token, which goes to that server alone."""
    loopback = urlsplit(url).hostname in LOOPBACK
    with httpx.Client(
        base_url=url, follow_redirects=False, trust_env=not loopback, timeout=_PATIENCE
    ) as http:
        before = time.time()
        try:
            answer = _sent(http, requests.versions(), None)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            advice = "check the network and the address; what you publish is kept and sent later"
            yield "server", "fail", f"cannot reach {url}: {str(error) or type(error).__name__}", advice
            return
        now = (before + time.time()) / 2
        yield _speaks(url, answer)
        yield clock_of(answer.headers.get("Date"), now)
        if session is not None and session.access_token is not None:
            try:
                yield session_of(_sent(http, requests.whoami(), session.access_token), session)
            except httpx.HTTPError as error:
                yield "session", "warn", f"no answer: {str(error) or type(error).__name__}", "try again"


def _sent(http: httpx.Client, request: Request, token: str | None) -> httpx.Response:
    headers = httpx.Headers({"Authorization": f"Bearer {token}"} if token else {})
    return http.request(request.method, request.path, headers=headers)


def _fields(answer: httpx.Response) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(answer.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _speaks(url: str, answer: httpx.Response) -> Said:
    fields = _fields(answer)
    versions = fields.get("versions")
    if answer.status_code != httpx.codes.OK or not isinstance(versions, list) or not versions:
        found = f"{url} answers HTTP {answer.status_code}, and not as a Matrix homeserver"
        return "server", "fail", found, "give the homeserver's own address to `matrixdata login`"
    features = fields.get("unstable_features")
    sliding = isinstance(features, dict) and features.get(_SLIDING) is True
    way = "sliding sync" if sliding else "no sliding sync, so /sync is used"
    return "server", "ok", f"{url} speaks Matrix up to {str(versions[-1])[:40]}; {way}", ""


def clock_of(date: str | None, now: float) -> Said:
    """How far this machine's clock is from a server's.

    Args:
        date: the server's Date header.
        now: this machine's clock at that moment, in seconds since 1970 UTC.
    """
    try:
        apart = parsedate_to_datetime(date or "").timestamp() - now
    except (ValueError, OverflowError):
        return "clock", "ok", "the server does not tell its time", ""
    if abs(apart) <= _APART:
        return "clock", "ok", "agrees with the server's", ""
    way = "behind" if apart > 0 else "ahead of"
    advice = "set this machine's clock (NTP); times such as --since -1h are reckoned from it"
    return "clock", "warn", f"this machine's is {abs(apart):,.0f} s {way} the server's", advice


def session_of(answer: httpx.Response, session: Session) -> Said:
    """Whether a session serves, by the answer to its token. It is not renewed here: this only looks."""
    fields = _fields(answer)
    login = f"`matrixdata login {session.homeserver} --user {session.user_id}`"
    if answer.status_code == httpx.codes.OK and isinstance(fields.get("user_id"), str):
        return "session", "ok", f"valid, of {fields['user_id']}", ""
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return _over(soft=fields.get("soft_logout") is True, session=session, login=login)
    found = f"the server answers HTTP {answer.status_code} {str(fields.get('errcode', ''))[:60]}".rstrip()
    return "session", "warn", found, "try again later"


def _over(*, soft: bool, session: Session, login: str) -> Said:
    if soft and session.refresh_token is not None:
        return "session", "ok", "its access token has expired; the next command renews it", ""
    if soft:
        found = "it has expired"
        return "session", "fail", found, f"{login} goes on as the same device; nothing queued is lost"
    found = "the server has ended it, as after a logout or when the device is removed"
    return "session", "fail", found, f"{login} begins a new device; nothing queued is lost"
