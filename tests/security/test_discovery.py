"""From a name to its homeserver: every way in which .well-known could lead astray, over real HTTP on loopback."""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import httpx
import pytest

import matrixdata as md
from matrixdata.connect import login
from matrixdata.transport import discovery
from matrixdata.transport.discovery import discover, server_name
from tests.faults.harness import Break, fault

FILE = "matrixdata/transport/discovery.py"
WELL_KNOWN = "https://example.org/.well-known/matrix/client"
PUBLIC, PRIVATE = (
    "93.184.215.14",
    ("127.0.0.1", "10.0.0.7", "169.254.169.254", "::1", "fd00::1", "::ffff:127.0.0.1"),
)


@dataclass
class Web:
    """Every https address of the world, answered by one server on loopback.

    Attributes:
        pages: what stands at an address: a body, a redirect ("-> address"), a status, or a function of the handler.
        names: addresses of hosts; all others are public.
        asked: (method, address, headers) of each request, as the server saw it.
    """

    pages: dict[str, object] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    async def resolve(self, host: str) -> list[str]:
        if host.endswith(".invalid"):
            raise OSError
        return self.names.get(host, [PUBLIC])

    def network(self) -> httpx.AsyncBaseTransport:
        return _ToLoopback(self.port)

    def serves(self, base_url: object, **more: object) -> Web:
        self.pages[WELL_KNOWN] = json.dumps({"m.homeserver": {"base_url": base_url}, **more}).encode()
        self.pages.setdefault(f"{base_url}/_matrix/client/versions", b'{"versions": ["v1.11"]}')
        return self

    def find(self, name: str = "example.org") -> str:
        async def work() -> str:
            return await discover(name, resolve=self.resolve, network=self.network())

        return anyio.run(work)


class _ToLoopback(httpx.AsyncHTTPTransport):
    """Sends every request to one server on loopback, which is told the address that was meant."""

    def __init__(self, port: int) -> None:
        super().__init__(trust_env=False)
        self.port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        meant = str(request.url)
        request.headers["X-Meant"] = meant
        request.url = httpx.URL(f"http://127.0.0.1:{self.port}/")
        return await super().handle_async_request(request)


@pytest.fixture
def web():
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            meant = self.headers["X-Meant"]
            web.asked.append((self.command, meant, dict(self.headers), body))
            page = web.pages.get(meant, 404)
            if callable(page):
                page(self)
            elif isinstance(page, int):
                self.reply(page, b"")
            elif isinstance(page, str):
                self.reply(302, b"", {"Location": page.removeprefix("-> ")})
            else:
                self.reply(200, page)

        def reply(self, status, body, headers=()):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **dict(headers)}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer  # noqa: N815  the names that http.server calls

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    web.port = server.server_port
    yield web
    server.shutdown()
    server.server_close()
    thread.join()


def refused(web, name="example.org"):
    with pytest.raises(md.MatrixDataError, match="give the homeserver's own address") as caught:
        web.find(name)
    return str(caught.value)


# --- what names and answers mean ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("example.org", "example.org"),
        ("@ada:example.org", "example.org"),
        ("@ada:example.org:8448", "example.org:8448"),
        ("example.org:8448", "example.org:8448"),
        ("@a:[2001:db8::1]", "[2001:db8::1]"),
        ("https://example.org", None),
        ("example.org/path", None),
        ("ada@example.org", None),
        ("example.org?x", None),
        ("exa mple.org", None),
        ("@ada", None),
        ("", None),
    ],
)
def test_what_is_a_name_and_what_is_not(text, name):
    assert server_name(text) == name


def test_a_name_leads_to_the_address_that_its_well_known_states(web):
    web.serves("https://matrix.example.com/base/")
    web.pages["https://matrix.example.com/base/_matrix/client/versions"] = b'{"versions": ["v1.11"]}'
    assert web.find() == "https://matrix.example.com/base"
    assert web.asked[0][1] == WELL_KNOWN


def test_without_a_well_known_the_name_itself_is_tried(web):
    web.pages["https://example.org:8448/_matrix/client/versions"] = b'{"versions": []}'
    assert web.find("example.org:8448") == "https://example.org:8448"


def test_redirects_between_public_https_addresses_are_followed(web):
    web.serves("https://matrix.example.com")
    web.pages["https://www.example.org/x"] = web.pages[WELL_KNOWN]
    web.pages[WELL_KNOWN] = "-> //www.example.org/x"
    assert web.find() == "https://matrix.example.com"


def test_a_name_inside_a_private_network_may_lead_there(web):
    web.names = {"intra.example.org": ["10.0.0.7"], "matrix.intra.example.org": ["10.0.0.8"]}
    address = "https://intra.example.org/.well-known/matrix/client"
    web.pages[address] = b'{"m.homeserver": {"base_url": "https://matrix.intra.example.org"}}'
    web.pages["https://matrix.intra.example.org/_matrix/client/versions"] = b'{"versions": ["v1.11"]}'
    assert web.find("intra.example.org") == "https://matrix.intra.example.org"


# --- where it is not followed ------------------------------------------------------------------------


@fault("T-A15", broken=Break(FILE, 'if urlsplit(url).scheme != "https":', "if False:"))
def test_a_redirect_away_from_https_is_refused(web):
    web.serves("https://matrix.example.com")
    for target in (
        "http://example.org/x",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
    ):
        web.pages["http://example.org/x"] = web.pages["https://example.org/y"] = web.pages[WELL_KNOWN]
        web.pages[WELL_KNOWN] = f"-> {target}"
        assert re.search("not https|bad address", refused(web))
        assert web.asked[-1][1] == WELL_KNOWN


@fault("T-A15", broken=Break(FILE, "if self._public and not await self._is_public(host):", "if False:"))
def test_a_public_name_never_leads_into_a_private_network(web):
    for address in PRIVATE:
        host = f"[{address}]" if ":" in address else address
        web.names = {"inside.example.org": [PUBLIC, address], address: [address]}
        for target in (f"https://{host}", "https://inside.example.org"):
            web.serves(target)
            web.pages[f"{target}/x"] = web.pages[WELL_KNOWN]
            assert "private network" in refused(web)
            web.pages[WELL_KNOWN] = f"-> {target}/x"
            assert "private network" in refused(web)
    assert {address for _, address, _, _ in web.asked} == {WELL_KNOWN}


@fault("T-A15", broken=Break(FILE, "for _ in range(_MAX_REDIRECTS + 1):", "while True:"))
def test_redirects_end(web):
    web.pages[WELL_KNOWN] = "-> https://example.org/b"
    web.pages["https://example.org/b"] = f"-> {WELL_KNOWN}"
    assert "times" in refused(web)
    assert len(web.asked) < 10


@fault("T-A15", broken=Break(FILE, "_MAX_BYTES = 50 * 1024", "_MAX_BYTES = 50 * 1024 * 1024"))
def test_a_body_beyond_50_kilobytes_is_not_read(web):
    web.serves("https://matrix.example.com", padding="x" * 10_000_000)
    assert "larger than" in refused(web)


@fault("T-A15", broken=Break(FILE, "with anyio.move_on_after(_SECONDS):", "with anyio.move_on_after(100):"))
def test_an_answer_that_trickles_is_given_up(web, monkeypatch):
    stop = threading.Event()

    def trickle(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "50000")
        handler.end_headers()
        while not stop.wait(0.02):
            handler.wfile.write(b" ")

    web.pages[WELL_KNOWN] = trickle
    monkeypatch.setattr(discovery, "_SECONDS", 0.5)
    before = time.monotonic()
    try:
        assert "did not say" in refused(web)
    finally:
        stop.set()
    assert time.monotonic() - before < 10


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"<html>", b'{"m.homeserver": 5}', b'{"m.homeserver": {}}', b"[" * 40_000, b"\xff",
        *(
            json.dumps({"m.homeserver": {"base_url": url}}).encode()
            for url in (5, "", "matrix.example.com", "http://matrix.example.com", "https://", "https://a:b@c.example",
                        "https://matrix.example.com?x=", "https://matrix.example.com#x", "https://a.example\\@b.example",
                        "https://x.example\r\nHost: y", "https://[::1", "https://\u0440.example", "javascript:alert(1)")
        ),
    ],
)  # fmt: skip
@fault("T-A15", broken=Break(FILE, 'set("?#\\\\ ") & set(url)', "False"))
def test_a_well_known_that_names_no_address_is_refused(web, body):
    web.pages[WELL_KNOWN] = body
    assert refused(web).isprintable()
    assert len(web.asked) == 1


def test_failures_are_told_from_absence(web):
    for status in (401, 403, 500, 503):
        web.pages[WELL_KNOWN] = status
        assert f"HTTP {status}" in refused(web)
    assert "no address is known" in refused(web, "nowhere.invalid")
    web.serves("https://matrix.example.com")
    web.pages["https://matrix.example.com/_matrix/client/versions"] = b'{"hello": "there"}'
    assert "does not answer like a homeserver" in refused(web)


# --- who gets the password ---------------------------------------------------------------------------


@pytest.fixture
def lured(web, monkeypatch):
    """`connect` with a name, in that world."""

    async def found(name):
        return await discover(name, resolve=web.resolve, network=web.network())

    monkeypatch.setattr(login.discovery, "discover", found)
    return web


@fault("T-A15", broken=Break(FILE, "        await self._check_homeserver(url)\n", ""))
def test_neither_password_nor_token_is_sent_before_a_homeserver_is_found(lured, tmp_path):
    lured.serves("https://matrix.example.com")
    lured.pages["https://matrix.example.com/_matrix/client/versions"] = b"<html>"
    for secret in ({"password": "canary-1"}, {"token": "canary-2"}):
        with pytest.raises(md.MatrixDataError, match="does not answer like a homeserver"):
            md.connect("@ada:example.org", store=tmp_path / "store", **secret)
    for _, _, headers, body in lured.asked:
        assert "Authorization" not in headers
        assert b"canary" not in body
        assert "canary" not in str(headers)


@fault(
    "T-A15",
    broken=Break(
        "matrixdata/connect/login.py", 'if user.startswith("@"):\n        raise', "if False:\n        raise"
    ),
)
def test_a_user_of_another_server_is_not_logged_in_here(lured, tmp_path):
    with pytest.raises(md.Conflict, match="not a user of"):
        md.connect("example.org", user="@ada:example.com", password="x", store=tmp_path / "store")
    assert lured.asked == []


@pytest.mark.server
@fault(
    "T-A15",
    broken=Break(
        "matrixdata/connect/login.py",
        "if saved is None and url is None and find is not None:",
        "if find is not None:",
    ),
)
def test_a_profile_found_by_name_stays_with_the_address_it_was_given_whatever_the_name_says_later(
    server, monkeypatch, tmp_path
):
    name = server.name("named")
    account = server.account(name)
    asked = []

    async def found(name):
        asked.append(name)
        return server.url

    monkeypatch.setattr(login.discovery, "discover", found)
    monkeypatch.setattr(login.discovery, "server_name", lambda text: text.partition(":")[2] or text)
    for _ in range(2):
        with md.connect(account["user"], password=account["password"], store=tmp_path / "store") as client:
            assert (client.homeserver, client.user_id) == (server.url, account["user"])
    assert asked == [server.address.name]


@pytest.mark.anyio
@fault(
    "T-A15", broken=Break("matrixdata/transport/http.py", "follow_redirects=False", "follow_redirects=True")
)
@pytest.mark.parametrize("target", ["/elsewhere", "javascript:alert(1)", "http://[", "\xff"])
async def test_a_homeserver_that_redirects_gets_no_token_to_where_it_points(target):
    from matrixdata.protocol.requests import whoami
    from matrixdata.transport.http import HttpTransport

    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        transport = HttpTransport(f"http://127.0.0.1:{http.server_port}", token="canary")
        with pytest.raises(md.Unknown):
            await transport.send(whoami())
        await transport.aclose()
        http.shutdown()
    assert asked == ["/_matrix/client/v3/account/whoami"]
