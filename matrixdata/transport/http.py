"""The transport over httpx. Foreign exceptions and HTTP statuses become ours here and nowhere else."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import msgspec

from matrixdata.errors import LoggedOut, MatrixDataError, NotSent, RateLimited, Rejected, Unknown, Unsupported

if TYPE_CHECKING:
    from matrixdata.protocol.requests import Request

log = logging.getLogger("matrixdata.transport")

# No answer we ask for comes near this: /messages of 1,000 events of 64 KiB each, with room to spare.
MAX_BODY_BYTES = 100 * 1024 * 1024
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


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


class HttpTransport:
    """One homeserver over HTTP/1.1 with keep-alive; no redirects, no proxies for loopback."""

    def __init__(self, base_url: str, *, token: str | None = None) -> None:
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
            headers={"User-Agent": "matrixdata"},
        )

    def __repr__(self) -> str:
        return f"<HttpTransport {self._base_url}>"

    def use_token(self, token: str | None) -> None:
        """Send this access token from now on; it travels in a header only, never in a URL.

        Raises:
            ValueError: it cannot be an access token: those are visible ASCII (RFC 6750, section 2.1).
        """
        if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
            raise ValueError("this is no access token: it holds spaces, line ends or characters beyond ASCII")
        self._authorization = httpx.Headers({"Authorization": f"Bearer {token}"} if token else {})

    async def send(self, request: Request) -> bytes:
        """Send one request once; see `Transport.send` for what is raised."""
        headers = httpx.Headers(self._authorization if request.authenticated else {})
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        timeout = httpx.Timeout(request.timeout, connect=min(10.0, request.timeout), pool=None)
        try:
            async with self._client.stream(
                request.method,
                self._base_url + request.path,
                content=request.body,
                headers=headers,
                timeout=timeout,
            ) as response:
                body = await _read(response)
                status, retry_after = response.status_code, response.headers.get("Retry-After")
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NotSent(f"cannot reach {self._base_url}: {_reason(error)}") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise MatrixDataError(f"bad address: {error}") from None
        except httpx.HTTPError as error:
            raise Unknown(f"{self._base_url} gave no usable answer: {_reason(error)}") from None
        log.debug("%s %s -> %d, %d bytes", request.method, request.path, status, len(body))
        if 200 <= status < 300:
            # An empty, HTML or cut-off 200, as proxies give, must never count as success.
            if not _is_json(body):
                raise Unknown(f"{self._base_url} answered {status} with something that is not JSON")
            return body
        raise classify(status, body, retry_after)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


async def _read(response: httpx.Response) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size <= MAX_BODY_BYTES:
                chunks.append(chunk)
            else:
                # Not raised here: trio reports an async generator that is left in the middle. Closed, it ends.
                await response.aclose()
    except httpx.HTTPError:
        if size <= MAX_BODY_BYTES:
            raise
    if size > MAX_BODY_BYTES:
        raise Unknown(f"the answer is larger than {MAX_BODY_BYTES:,} bytes; it was not read further")
    return b"".join(chunks)


def _is_json(body: bytes) -> bool:
    """Whether a body is one whole JSON object or array; looks at its form only, at a gigabyte a second."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return body.lstrip()[:1] in {b"{", b"["}


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def classify(status: int, body: bytes, retry_after: str | None = None) -> MatrixDataError:
    """The exception for a status that is not 2xx (client-server API, "Standard error response")."""
    errcode, message, wait, soft = _standard_error(body)
    if status == 429:
        return RateLimited(_pause(wait, retry_after))
    if status >= 500 or status < 400:
        said = f": {errcode} {message}" if errcode else ""
        advice = "; if it redirects elsewhere, give the homeserver's final address" if status < 400 else ""
        return Unknown(f"the server failed with HTTP {status}{said}{advice}")
    if status == 401 and errcode in {"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"}:
        return LoggedOut(soft=soft, message=message)
    if errcode == "M_UNRECOGNIZED" or (status in {404, 405} and not errcode):
        return Unsupported(
            "an endpoint this needs", f"the server answered HTTP {status} {errcode or 'without JSON'}"
        )
    if not errcode:
        # A homeserver states an errcode: this is a proxy or a captive portal, which decides nothing.
        return Unknown(f"something on the way to the server answered HTTP {status}")
    return Rejected(errcode, message, status=status)


def _standard_error(body: bytes) -> tuple[str, str, object, bool]:
    try:
        fields: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "", "", None, False
    if not isinstance(fields, dict):
        return "", "", None, False
    errcode, message = fields.get("errcode"), fields.get("error")
    return (
        errcode if isinstance(errcode, str) else "",
        message if isinstance(message, str) else "",
        fields.get("retry_after_ms"),
        fields.get("soft_logout") is True,
    )


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
