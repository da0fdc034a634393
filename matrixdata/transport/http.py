"""The transport over httpx. Foreign exceptions and HTTP statuses become ours here and nowhere else."""

from __future__ import annotations

import logging
import math
import zlib
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import httpx
import msgspec

from matrixdata.errors import (
    LoggedOut,
    MatrixDataError,
    NotSent,
    PasswordNeeded,
    RateLimited,
    Rejected,
    Unknown,
    Unsupported,
)
from matrixdata.model.hidden import HiddenBytes
from matrixdata.model.problem import safe_text
from matrixdata.protocol.features import endpoint_of, feature_of
from matrixdata.transport.body import OneChunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.protocol.requests import Request

log = logging.getLogger("matrixdata.transport")

# No answer we ask for comes near this: /messages of 1,000 events of 64 KiB each, with room to spare.
MAX_BODY_BYTES = 100 * 1024 * 1024
# Beyond the silence a request allows: an answer that comes byte by byte must end at some time as well.
MAX_SECONDS = 600.0
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# Characters of a server's own words that an error repeats, printable ones only.
_MOST_SAID = 500
PACKINGS = "gzip, deflate"


def check_url(url: str, *, insecure: bool = False) -> str:
    """A homeserver's base URL without a trailing slash.

    Raises:
        MatrixDataError: not an http(s) URL, or plain http to another machine, where anyone on the way could
            read the password and the data.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise MatrixDataError(
            f"{url!r} is not a homeserver's address; it looks like https://matrix.example.org"
        )
    if parts.username or parts.password:
        raise MatrixDataError("put the user and password in user= and password=, not into the address")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK and not insecure:
        raise MatrixDataError(
            f"{url} would send your password and data unencrypted; use https://, or insecure=True to allow it"
        )
    return url.rstrip("/")


def is_token(text: str) -> bool:
    """Whether this can be an access token, and so travel in a header: visible ASCII (RFC 6750, section 2.1)."""
    return text.isascii() and text.isprintable() and " " not in text and text != ""


class HttpTransport:
    """One homeserver over HTTP/1.1 with keep-alive; no redirects, no proxies for loopback."""

    def __init__(self, base_url: str, *, token: str | None = None) -> None:
        try:
            httpx.URL(base_url)
        except httpx.InvalidURL as error:
            raise MatrixDataError(f"bad address: {error}") from None
        self._base_url = base_url
        # httpx.Headers shows no Authorization in its repr, which tracebacks with variables print.
        self._authorization = httpx.Headers()
        self.use_token(token)
        loopback = urlsplit(base_url).hostname in LOOPBACK
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            trust_env=not loopback,
            # One long poll, a sender, a backfill and room for queries.
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=16, keepalive_expiry=60),
            headers={"User-Agent": "matrixdata", "Accept-Encoding": PACKINGS},
        )

    def __repr__(self) -> str:
        return f"<HttpTransport {self._base_url}>"

    def use_token(self, token: str | None) -> None:
        """Send this access token from now on; it travels in a header only, never in a URL.

        Raises:
            ValueError: it cannot be an access token: those are visible ASCII (RFC 6750, section 2.1).
        """
        if token is not None and not is_token(token):
            del token  # a traceback that shows variables must not show it
            raise ValueError("this is no access token: it holds spaces, line ends or characters beyond ASCII")
        self._authorization = httpx.Headers({"Authorization": f"Bearer {token}"} if token else {})

    async def send(self, request: Request) -> bytes:
        """Send one request once; see `Transport.send` for what is raised."""
        headers = httpx.Headers(self._authorization if request.authenticated else {})
        if request.body is not None:
            headers["Content-Type"] = "application/octet-stream" if request.file else "application/json"
        answer = None
        try:
            with anyio.move_on_after(request.timeout + MAX_SECONDS):
                answer = await self._exchange(request, headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NotSent(f"cannot reach {self._base_url}: {_reason(error)}") from None
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
        ) as error:  # the second: in a redirect, which is not followed
            raise Unknown(f"{self._base_url} gave no usable answer: {_reason(error)}") from None
        if answer is None:
            raise Unknown(
                f"{self._base_url} took longer than {request.timeout + MAX_SECONDS:.0f} s to answer"
            )
        status, body, retry_after = answer
        log.debug("%s %s -> %d, %d bytes", request.method, request.path, status, len(body))
        if 200 <= status < 300:
            # An empty, HTML or cut-off 200, as proxies give, must never count as success.
            is_file = request.file and request.method == "GET"
            if not is_file and not _is_json(body):
                raise Unknown(f"{self._base_url} answered {status} with something that is not JSON")
            return body
        raise classify(status, body, retry_after, request=request)

    async def _exchange(self, request: Request, headers: httpx.Headers) -> tuple[int, bytes, str | None]:
        """Status, body and Retry-After of the answer to one request."""
        sent = self._client.build_request(
            request.method,
            self._base_url + request.path,
            content=request.body,
            headers=headers,
            timeout=httpx.Timeout(request.timeout, connect=min(10.0, request.timeout), pool=None),
        )
        sent.stream = OneChunk(request.body or b"")
        async with aclosing(await self._client.send(sent, stream=True)) as response:
            body = await read_body(response, MAX_BODY_BYTES, hidden=request.secret)
            return response.status_code, body, response.headers.get("Retry-After")

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


async def read_body(response: httpx.Response, most: int, *, hidden: bool = False) -> bytes:
    """The body of an answer, unpacked, of at most `most` bytes; `hidden` keeps it out of tracebacks.

    Raises:
        Unknown: it is larger; no more of it was read or unpacked. Or it is packed in a way nobody asked for.
        httpx.HTTPError: the connection failed.
    """
    unpack = _unpacker(response.headers.get("Content-Encoding", "").strip().lower())
    chunks: list[bytes] = []
    size, fault = 0, ""
    try:
        async for raw in response.aiter_raw():
            try:
                chunk = b"" if fault else unpack(raw, most - size + 1)
            except zlib.error as error:
                fault, chunk = f"cannot be unpacked: {error}", b""
            size += len(chunk)
            chunks.append(HiddenBytes(chunk) if hidden else chunk)
            if size > most:
                fault = f"is larger than {most:,} bytes; it was not read further"
            if fault:
                # Not raised here: trio reports an async generator that is left in the middle. Closed, it ends.
                await response.aclose()
    except httpx.HTTPError:
        if not fault:
            raise
    if fault:
        raise Unknown(f"the answer {fault}")
    body = b"".join(chunks)
    return HiddenBytes(body) if hidden else body


def _unpacker(packing: str) -> Callable[[bytes, int], bytes]:
    """What unpacks a body piece by piece, giving at most as many bytes as it is told.

    httpx would unpack each piece whole, a thousandfold for each layer of packing that an answer claims to have.
    """
    if packing in {"", "identity"}:
        return lambda raw, _: raw
    if packing not in PACKINGS.split(", "):
        raise Unknown(f"the answer is packed as {packing[:40]!r}, which was not asked for; it was not read")
    return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress  # 32: gzip's header or zlib's, as it comes


def _is_json(body: bytes) -> bool:
    """Whether a body is one whole JSON object or array; looks at its form only, at a gigabyte a second."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return body.lstrip()[:1] in {b"{", b"["}


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def classify(
    status: int, body: bytes, retry_after: str | None = None, *, request: Request | None = None
) -> MatrixDataError:
    """The exception for a status that is not 2xx (client-server API, "Standard error response").

    `request` is what it answers, where that is known.
    """
    errcode, message, wait, soft = _standard_error(body)
    if status == 429:
        return RateLimited(_pause(wait, retry_after))
    if status >= 500 or status < 400:
        said = f": {errcode} {message}" if errcode else ""
        advice = "; if it redirects elsewhere, give the homeserver's final address" if status < 400 else ""
        return Unknown(f"the server failed with HTTP {status}{said}{advice}")
    if status == 401 and errcode in {"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"}:
        return LoggedOut(soft=soft, message=message)
    asked = _asked_again(body) if status == 401 else None
    if asked is not None:
        return PasswordNeeded(message, session=asked)
    if errcode == "M_UNRECOGNIZED" or (status in {404, 405} and not errcode):
        return _lacking(request, f"HTTP {status} {errcode or 'without JSON'}")
    # A homeserver states an errcode: without one this is a proxy or a captive portal, which decides nothing.
    nobody = Unknown(f"something on the way to the server answered HTTP {status}")
    return Rejected(errcode, message, status=status) if errcode else nobody


def _lacking(request: Request | None, answer: str) -> Unsupported:
    if request is None:
        return Unsupported("what was asked for", f"the server answered {answer}")
    needed = f"{request.method} {endpoint_of(request.path)}"
    return Unsupported(
        feature_of(request.path),
        f"it needs a homeserver that has {needed}, and this one, or a proxy before it, answered {answer}",
    )


def _standard_error(body: bytes) -> tuple[str, str, object, bool]:
    try:
        fields: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "", "", None, False
    if not isinstance(fields, dict):
        return "", "", None, False
    errcode, message = fields.get("errcode"), fields.get("error")
    return (
        safe_text(errcode[:100]) if isinstance(errcode, str) else "",
        safe_text(message[:_MOST_SAID]) if isinstance(message, str) else "",
        fields.get("retry_after_ms"),
        fields.get("soft_logout") is True,
    )


def _asked_again(body: bytes) -> str | None:
    """The session of a user-interactive authentication that the server began, "" without one; None: it began none."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("flows"), list):
        return None
    session = fields.get("session")
    return session if isinstance(session, str) else ""


def _pause(retry_after_ms: object, header: str | None) -> float:
    """Seconds to wait. Servers state it in the body, the header, both or neither, and not always sanely."""
    if isinstance(retry_after_ms, (int, float)) and not isinstance(retry_after_ms, bool):
        seconds = float(retry_after_ms) / 1000 if abs(retry_after_ms) < 1e15 else math.inf
    else:
        try:
            seconds = float(header) if header else 1.0
        except ValueError:
            seconds = 1.0
    return seconds if seconds >= 0 and not math.isnan(seconds) else 1.0
