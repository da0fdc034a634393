"""What comes back over HTTP becomes one of few outcomes; nothing that is no answer counts as one."""

from __future__ import annotations

import gzip
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest

import matrixdata as md
from matrixdata.protocol.requests import Request
from matrixdata.transport import http
from matrixdata.transport.http import HttpTransport, check_url

pytestmark = pytest.mark.anyio
ASK = Request("GET", "/x", timeout=5)


class Said:
    """What the server says next, and what it was asked."""

    def __init__(self):
        self.status, self.body, self.headers, self.cut = 200, b"{}", {}, None
        self.asked = []


@pytest.fixture
def said():
    return Said()


@pytest.fixture
def url(said):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            said.asked.append((self.command, self.path, dict(self.headers), body))
            self.send_response(said.status)
            for name, value in {"Content-Length": str(len(said.body)), **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said.body[: said.cut])
            self.close_connection = said.cut is not None

        do_GET = do_PUT = do_POST = answer  # noqa: N815  the names that http.server calls

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # the client hung up, as it should
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


async def outcome(url, request=ASK, **options):
    transport = HttpTransport(url, **options)
    try:
        return await transport.send(request)
    except md.MatrixDataError as error:
        return error
    finally:
        await transport.aclose()


def error_body(errcode, **more):
    import json

    return json.dumps({"errcode": errcode, "error": "because", **more}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"", md.Unknown),
        (200, b"<html>Welcome to the hotel</html>", md.Unknown),
        (200, b'{"event_id": "$ab', md.Unknown),
        (200, b'{"a": 1} trailing', md.Unknown),
        (200, b"null", md.Unknown),
        (200, b"[" * 100_000, md.Unknown),
        (204, b"", md.Unknown),
        (302, b"", md.Unknown),
        (400, error_body("M_BAD_JSON"), md.Rejected),
        (400, b"<html>", md.Unknown),
        (401, error_body("M_UNKNOWN_TOKEN"), md.LoggedOut),
        (401, error_body("M_MISSING_TOKEN"), md.LoggedOut),
        (401, b"<html>proxy login</html>", md.Unknown),
        (403, error_body("M_FORBIDDEN"), md.Rejected),
        (403, b"<html>captive portal</html>", md.Unknown),
        (403, b'{"errcode": 5}', md.Unknown),
        (403, b'["M_FORBIDDEN"]', md.Unknown),
        (404, error_body("M_NOT_FOUND"), md.Rejected),
        (404, error_body("M_UNRECOGNIZED"), md.Unsupported),
        (404, b"nginx", md.Unsupported),
        (405, b"", md.Unsupported),
        (413, error_body("M_TOO_LARGE"), md.Rejected),
        (429, error_body("M_LIMIT_EXCEEDED", retry_after_ms=1), md.RateLimited),
        (429, b"slow down", md.RateLimited),
        (500, error_body("M_UNKNOWN"), md.Unknown),
        (502, b"<html>Bad Gateway</html>", md.Unknown),
        (503, b"", md.Unknown),
        (504, b"\xff\xfe", md.Unknown),
    ],
)
async def test_each_answer_has_one_meaning(said, url, status, body, kind):
    said.status, said.body = status, body
    error = await outcome(url)
    assert type(error) is kind, error


async def test_a_refusal_carries_errcode_status_and_the_servers_words(said, url):
    said.status, said.body = 403, error_body("M_FORBIDDEN")
    error = await outcome(url)
    assert (error.errcode, error.status) == ("M_FORBIDDEN", 403)
    assert "because" in str(error)


@pytest.mark.parametrize("soft", [True, False])
async def test_a_soft_logout_is_told_from_a_hard_one(said, url, soft):
    said.status, said.body = 401, error_body("M_UNKNOWN_TOKEN", soft_logout=soft)
    assert (await outcome(url)).soft is soft


@pytest.mark.parametrize(
    ("body", "header", "seconds"),
    [
        (b'{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":836}', "1", 0.836),
        (b'{"errcode":"M_LIMIT_EXCEEDED"}', "4", 4),
        (b"<html>", "2.5", 2.5),
        (b"{}", None, 1),
        (b'{"retry_after_ms":-5}', None, 1),
        (b'{"retry_after_ms":"soon"}', "3", 3),
        (b'{"retry_after_ms":true}', None, 1),
        (b'{"retry_after_ms":null}', "-7", 1),
        (b"{}", "Wed, 21 Oct 2026 07:28:00 GMT", 1),
        (b"{}", "nan", 1),
        (b"{}", "1e9", 1e9),
        (b'{"retry_after_ms":1e12}', None, 1e9),
        (b'{"retry_after_ms":' + b"9" * 400 + b"}", None, float("inf")),
    ],
)
async def test_the_pause_a_server_asks_for_is_read_wherever_it_stands(said, url, body, header, seconds):
    said.status, said.body = 429, body
    said.headers = {"Retry-After": header} if header else {}
    error = await outcome(url)
    assert isinstance(error, md.RateLimited)
    assert error.retry_after == pytest.approx(seconds)


async def test_an_answer_that_breaks_off_is_unknown(said, url):
    said.body, said.cut = b'{"event_id":"$x"}' * 10, 20
    assert type(await outcome(url)) is md.Unknown


async def test_a_server_that_is_not_there_was_not_reached():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert type(await outcome(f"http://127.0.0.1:{port}")) is md.NotSent


async def test_a_server_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with anyio.fail_after(10):
            error = await outcome(address, Request("GET", "/x", timeout=0.1))
    assert type(error) is md.Unknown


@pytest.mark.parametrize("packed", [False, True])
async def test_a_body_beyond_the_limit_is_not_read_even_when_it_comes_compressed(
    said, url, monkeypatch, packed
):
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 1000)
    body = b'{"a":"' + b"x" * 100_000 + b'"}'
    said.body = gzip.compress(body) if packed else body
    said.headers = {"Content-Encoding": "gzip"} if packed else {}
    error = await outcome(url)
    assert type(error) is md.Unknown
    assert "larger" in str(error)


async def test_the_token_goes_into_a_header_of_requests_that_need_it_and_nowhere_else(said, url, caplog):
    caplog.set_level(0)
    transport = HttpTransport(url, token="canary-token")
    await transport.send(ASK)
    await transport.send(Request("GET", "/open", authenticated=False))
    await transport.aclose()
    (_, first, headers, _), (_, _, open_headers, _) = said.asked
    assert headers["Authorization"] == "Bearer canary-token"
    assert "Authorization" not in open_headers
    assert "canary" not in first + repr(transport) + str(transport) + caplog.text


async def test_paths_reach_the_server_as_they_are_spelled(said, url):
    from matrixdata.protocol.requests import put_state

    for key in ("", ".", "..", "a/b", "ü", "%2E", "?x=#y"):
        await outcome(url, put_state("!r:x", "io.example", key, {}))
    assert [path.rpartition("/")[2] for _, path, _, _ in said.asked] == [
        *("", "%2E", "%2E%2E", "a%2Fb", "%C3%BC", "%252E", "%3Fx%3D%23y")
    ]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("matrix.example", "looks like"),
        ("ftp://matrix.example", "looks like"),
        ("https://", "looks like"),
        ("http://matrix.example", "unencrypted"),
        ("https://ada:secret@matrix.example", "user= and password="),
    ],
)
async def test_an_address_that_cannot_be_meant_is_refused(address, says):
    with pytest.raises(md.MatrixDataError, match=says) as caught:
        check_url(address)
    assert "secret" not in str(caught.value)


async def test_good_addresses_are_taken():
    assert check_url("https://matrix.example/") == "https://matrix.example"
    assert check_url("http://127.0.0.1:8008") == "http://127.0.0.1:8008"
    assert check_url("http://matrix.example", insecure=True) == "http://matrix.example"
