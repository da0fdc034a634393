"""From a server name to its homeserver's address: .well-known (client-server API, "Server discovery").

What is found there was written by whoever answers for the name, so it is bounded in size, time and number of
redirects, and a public name can never lead to an address inside a private network. Sends no secret anywhere.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import anyio
import anyio.to_thread
import httpx
import msgspec

from matrixdata.errors import MatrixDataError, NotSent, Unknown
from matrixdata.model.problem import shown
from matrixdata.transport.http import check_url, read_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger("matrixdata.transport")

_MAX_BYTES = 50 * 1024
_MAX_REDIRECTS = 3
_SECONDS = 10.0
_PATH = "/.well-known/matrix/client"
_VERSIONS = "/_matrix/client/versions"
_REDIRECTS = {301, 302, 303, 307, 308}
# Appendices, "Server name": a host name or IP address, and perhaps a port.
_NAME = re.compile(r"(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_ADVICE = "; give the homeserver's own address, such as https://matrix.example.org"


def server_name(text: str) -> str | None:
    """The server name that `example.org` or `@ada:example.org` gives; None for anything else, as a URL."""
    name = text.partition(":")[2] if text.startswith("@") else text
    return name if _NAME.fullmatch(name) else None


async def addresses(host: str) -> list[str]:
    """The IP addresses of a host, from the system's resolver.

    Raises:
        OSError: it has none.
    """
    found = await anyio.to_thread.run_sync(lambda: socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM))
    return [str(entry[4][0]) for entry in found]


async def discover(
    name: str,
    *,
    resolve: Callable[[str], Awaitable[list[str]]] = addresses,
    network: httpx.AsyncBaseTransport | None = None,
) -> str:
    """The base URL of the homeserver that answers for a server name.

    Where there is no .well-known (404), the name itself is tried as the homeserver's.

    Args:
        name: a server name, from `server_name`.
        resolve: the addresses of a host.
        network: what carries requests; for tests.

    Raises:
        NotSent: the name cannot be found, or nobody answers within 10 seconds.
        MatrixDataError: what it leads to is not a homeserver, or nowhere that a password may be sent.
    """
    async with httpx.AsyncClient(
        transport=network,
        follow_redirects=False,
        timeout=_SECONDS,
        headers={"User-Agent": "matrixdata", "Accept-Encoding": "identity"},
    ) as http:
        found = None
        try:
            with anyio.move_on_after(_SECONDS):
                found = await _Search(name, resolve, http).run()
        except httpx.InvalidURL as error:
            raise MatrixDataError(f"{name} leads to a bad address: {error}{_ADVICE}") from None
        except httpx.HTTPError as error:
            raise NotSent(f"cannot reach {name}: {error or type(error).__name__}{_ADVICE}") from None
        except Unknown as error:
            raise MatrixDataError(f"{name}: {error}{_ADVICE}") from None
    if found is None:
        raise NotSent(f"{name} did not say within {_SECONDS:.0f} s where its homeserver is{_ADVICE}")
    log.info("the homeserver of %s is %s", name, found)
    return found


class _Search:
    """One discovery: where it may look depends on where its name points."""

    def __init__(
        self, name: str, resolve: Callable[[str], Awaitable[list[str]]], http: httpx.AsyncClient
    ) -> None:
        self._name = name
        self._resolve = resolve
        self._http = http
        self._public = True

    async def run(self) -> str:
        match = _NAME.fullmatch(self._name)
        if match is None:
            raise MatrixDataError(f"{shown(self._name)} is no server name{_ADVICE}")
        self._public = await self._is_public(match["host"])
        status, body = await self._followed(f"https://{match['host']}{_PATH}")
        if status == httpx.codes.NOT_FOUND:
            url = check_url(f"https://{self._name}")
        elif status == httpx.codes.OK:
            url = self._stated(body)
        else:
            raise self._refused(f"answers HTTP {status} when asked for it")
        await self._check_homeserver(url)
        return url

    async def _check_homeserver(self, url: str) -> None:
        """Ask for what only a homeserver says, before anything secret is sent there."""
        status, body = await self._get(url + _VERSIONS)
        versions = _object(body).get("versions")
        if status != httpx.codes.OK or not isinstance(versions, list):
            raise self._refused(f"leads to {url}, which does not answer like a homeserver")

    def _stated(self, body: bytes) -> str:
        homeserver = _object(body).get("m.homeserver")
        url = homeserver.get("base_url") if isinstance(homeserver, dict) else None
        if not isinstance(url, str) or not url.isascii() or not url.isprintable() or set("?#\\ ") & set(url):
            raise self._refused(f"names no homeserver: base_url is {shown(url)}")
        try:
            return check_url(url)
        except (MatrixDataError, ValueError) as error:
            raise self._refused(f"names an address that cannot be used: {error}") from None

    async def _followed(self, url: str) -> tuple[int, bytes]:
        for _ in range(_MAX_REDIRECTS + 1):
            status, body = await self._get(url)
            if status not in _REDIRECTS:
                return status, body
            url = urljoin(url, body.decode("ascii", "replace"))
            if urlsplit(url).scheme != "https":
                raise self._refused("redirects to an address that is not https")
        raise self._refused(f"redirects more than {_MAX_REDIRECTS} times")

    async def _get(self, url: str) -> tuple[int, bytes]:
        """Status and body of an answer; for a redirect, where it leads."""
        host = urlsplit(url).hostname
        if not host:
            raise self._refused(f"leads to {shown(url)}, which is no address")
        if self._public and not await self._is_public(host):
            raise self._refused(f"leads to {host}, which is inside a private network")
        async with self._http.stream("GET", url) as response:
            if response.status_code in _REDIRECTS:
                return response.status_code, response.headers.get("Location", "").encode()
            return response.status_code, await read_body(response, _MAX_BYTES)

    async def _is_public(self, host: str) -> bool:
        try:
            found = await self._resolve(host.strip("[]"))
        except (OSError, UnicodeError):
            raise NotSent(f"no address is known for {host}{_ADVICE}") from None
        # One private address is enough: which of them is used is not ours to choose.
        return all(ipaddress.ip_address(address.partition("%")[0]).is_global for address in found)

    def _refused(self, why: str) -> MatrixDataError:
        return MatrixDataError(f"{self._name} {why}{_ADVICE}")


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
