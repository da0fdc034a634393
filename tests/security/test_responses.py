"""Answers that are too large, packed to burst, or endless: given up within stated bounds of memory and time."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import tracemalloc
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest

import matrixdata as md
from matrixdata.protocol.requests import Request
from matrixdata.transport import http
from matrixdata.transport.http import HttpTransport
from tests.faults.harness import Break, fault

pytestmark = pytest.mark.anyio

HTTP = "matrixdata/transport/http.py"
MB = 1_000_000


@pytest.fixture
def answers():
    """Serves what is put here: [body, content encoding]."""
    said = [b"{}", ""]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(said[0])))
            if said[1]:
                self.send_header("Content-Encoding", said[1])
            self.end_headers()
            self.wfile.write(said[0])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield said, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


async def outcome(url, timeout=10.0):
    transport = HttpTransport(url)
    try:
        return await transport.send(Request("GET", "/x", timeout=timeout))
    except md.MatrixDataError as error:
        return error
    finally:
        await transport.aclose()


def bomb(kind, layers=1):
    """A few kilobytes that unpack to 24 MB, for each layer more than one a thousandth of that."""
    packer = zlib.compressobj(wbits=kind)
    data = b"".join([*(packer.compress(b" " * MB) for _ in range(24)), packer.flush()])
    for _ in range(layers - 1):
        data = gzip.compress(data)
    return data


GZIP, ZLIB = 31, 15


@fault(
    "T-A16",
    broken=(
        Break(HTTP, "unpack(raw, most - size + 1)", "unpack(raw, 0)"),
        Break(HTTP, 'if packing not in PACKINGS.split(", "):', "if False:"),
    ),
)
async def test_a_packed_answer_takes_no_more_memory_than_the_limit_however_it_is_packed(answers, monkeypatch):
    said, url = answers
    monkeypatch.setattr(http, "MAX_BODY_BYTES", MB)
    for body, packing, why in (
        (bomb(GZIP), "gzip", "larger"),
        (bomb(ZLIB), "deflate", "larger"),
        (bomb(GZIP, layers=2), "gzip, gzip", "not asked for"),
        (bomb(GZIP)[:-5_000] + b"x" * 5_000, "gzip", "larger"),
        (b"x" * 1000, "gzip", "cannot be unpacked"),
        (b" " * 3 * MB, "", "larger"),
    ):
        said[:] = body, packing
        tracemalloc.start()
        error = await outcome(url)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert type(error) is md.Unknown, packing
        assert why in str(error)
        assert most < 12 * MB, packing


async def test_what_is_packed_as_asked_is_read(answers):
    said, url = answers
    for body, packing in (
        (b'{"a":1}', ""),
        (gzip.compress(b'{"a":1}'), "gzip"),
        (zlib.compress(b'{"a":1}'), "deflate"),
    ):
        said[:] = body, packing
        assert await outcome(url) == b'{"a":1}'
    said[:] = b'{"a":1}', "br"
    assert "not asked for" in str(await outcome(url))


@fault(
    "T-A",
    broken=Break(
        HTTP, "with anyio.move_on_after(request.timeout + MAX_SECONDS):", "with anyio.move_on_after(None):"
    ),
)
async def test_an_answer_that_comes_byte_by_byte_ends_all_the_same(monkeypatch):
    monkeypatch.setattr(http, "MAX_SECONDS", 0.3)
    done = threading.Event()

    def trickle(listener):
        connection, _ = listener.accept()
        with connection:
            connection.recv(10_000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not done.wait(0.02):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,), daemon=True)
        thread.start()
        try:
            with anyio.fail_after(10):
                error = await outcome(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.3)
        finally:
            done.set()
            thread.join()
    assert type(error) is md.Unknown
    assert "longer than" in str(error)


@fault("T-B9", broken=Break(HTTP, "safe_text(message[:_MOST_SAID])", "message"))
def test_a_servers_own_words_are_short_and_inert_in_our_errors():
    body = json.dumps({"errcode": "M_\x1b[31m", "error": "\x1b]0;title\x07\u202e" * 10_000}).encode()
    for status in (400, 401, 403, 404, 500):
        error = http.classify(status, body)
        assert str(error).isprintable()
        assert len(str(error)) < 20_000
