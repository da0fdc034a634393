"""For tests against the real Synapse: users, an independent checker over plain HTTP, and a faulty network.

The checker shares no code with the library: what it says of a room is the measure.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import socket
import threading
import time
import zlib
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

import matrixdata as md
from matrixdata import homeserver
from matrixdata.connect.connecting import open_blocking
from matrixdata.connect.login import client_for
from matrixdata.connect.secret import hidden
from tests.requirements import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CLIENT = "/_matrix/client/v3"
RECORD = "io.matrixdata.record"
BATCH = "io.matrixdata.batch"
SCHEMA = {
    "type": "object",
    "properties": {"device": {"type": "string"}, "temp": {"type": "number"}, "n": {"type": "integer"}},
    "required": ["device", "temp"],
}
_numbers = itertools.count(1)


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true value of `condition`; a failure when there is none in time."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
    return found


def encoded(*segments: str) -> str:
    return "/".join(quote(segment, safe="") for segment in segments)


class RawUser:
    """A user who speaks the client-server API directly."""

    def __init__(self, url: str, user_id: str, password: str) -> None:
        self.user_id = user_id
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=30)
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user_id},
            "password": password,
        }
        session = self.call("POST", "login", body)
        self.token, self.device_id = session["access_token"], session["device_id"]
        self.http.headers["Authorization"] = f"Bearer {self.token}"

    def answer(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        return self.http.request(method, f"{CLIENT}/{path}", json=body, params=query or None)

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        answer = self.answer(method, path, body, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def create_room(self, **body: Any) -> str:
        return self.call("POST", "createRoom", {"preset": "private_chat", **body})["room_id"]

    def invite(self, room_id: str, user_id: str) -> None:
        self.call("POST", f"{encoded('rooms', room_id)}/invite", {"user_id": user_id})

    def join(self, room_id: str) -> None:
        self.call("POST", encoded("join", room_id), {})

    def kick(self, room_id: str, user_id: str) -> None:
        self.call("POST", f"{encoded('rooms', room_id)}/kick", {"user_id": user_id, "reason": "tidying"})

    def send(self, room_id: str, content: Any, event_type: str = RECORD, txn: str | None = None) -> str:
        path = encoded("rooms", room_id, "send", event_type, txn or f"t{next(_numbers)}")
        return self.call("PUT", path, content)["event_id"]

    def put_state(self, room_id: str, event_type: str, key: str, content: Any) -> httpx.Response:
        return self.answer("PUT", encoded("rooms", room_id, "state", event_type, key), content)

    def state(self, room_id: str, event_type: str, key: str = "") -> Any:
        return self.call("GET", encoded("rooms", room_id, "state", event_type, key))

    def redact(self, room_id: str, event_id: str) -> str:
        path = encoded("rooms", room_id, "redact", event_id, f"t{next(_numbers)}")
        return self.call("PUT", path, {})["event_id"]

    def timeline(self, room_id: str) -> list[dict[str, Any]]:
        """Every event of a room, oldest first."""
        events: list[dict[str, Any]] = []
        token = None
        while True:
            query = {"dir": "b", "limit": 1000} | ({"from": token} if token else {})
            page = self.call("GET", f"{encoded('rooms', room_id)}/messages", **query)
            events += page["chunk"]
            token = page.get("end")
            if not page["chunk"] or token is None or page["chunk"][-1]["type"] == "m.room.create":
                return events[::-1]

    def records(self, room_id: str) -> list[dict[str, Any]]:
        """The records of a room, oldest first: its record events, and each record of a batch as if it were one."""
        return [record for event in self.timeline(room_id) for record in records_in(event)]

    def events(self, room_id: str, event_type: str = RECORD) -> list[dict[str, Any]]:
        """The events of one type, oldest first."""
        return [event for event in self.timeline(room_id) if event["type"] == event_type]

    def end(self, device_id: str, password: str) -> None:
        """Remove a device of this user, and so end its session."""
        identifier = {"type": "m.id.user", "user": self.user_id}
        auth = {"type": "m.login.password", "identifier": identifier, "password": password}
        path = encoded("devices", device_id)
        auth["session"] = self.answer("DELETE", path, {}).json()["session"]
        self.call("DELETE", path, {"auth": auth})

    def close(self) -> None:
        self.http.close()


@dataclass
class TestServer:
    """The shared homeserver, with users that no other test has."""

    __test__ = False

    address: homeserver.ServerAddress
    place: Path
    open: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.address.url

    def user_id(self, name: str) -> str:
        return f"@{name}:{self.address.name}"

    def account(self, name: str, *, store: str = "", url: str | None = None) -> dict[str, Any]:
        """What `connect` needs for a user: its arguments by name."""
        return {
            "homeserver": url or self.url,
            "user": self.user_id(name),
            "password": homeserver.register(self.address, name),
            "store": self.place / (store or name),
        }

    def connect(
        self, name: str, *, store: str = "", url: str | None = None, clock: Callable[[], int] | None = None
    ) -> md.Client:
        """A client; `clock` gives it the time, in microseconds since 1970 UTC."""
        account = self.account(name, store=store, url=url)
        client = md.connect(**account) if clock is None else _with_clock(account, clock)
        self.open.append(client)
        return client

    def raw(self, name: str) -> RawUser:
        user = RawUser(self.url, self.user_id(name), homeserver.register(self.address, name))
        self.open.append(user)
        return user

    def name(self, stem: str = "u") -> str:
        """A user name that nobody has yet."""
        return f"{stem}{next(_numbers)}"

    def proxy(self) -> Proxy:
        proxy = Proxy(self.url)
        self.open.append(proxy)
        return proxy


def _with_clock(account: dict[str, Any], clock: Callable[[], int]) -> md.Client:
    given = {"token": hidden(None), "profile": None, "insecure": False}
    account = account | {"password": hidden(account["password"])}

    async def make() -> md.AsyncClient:
        client = await client_for(account.pop("homeserver"), **account, **given)
        client._environment = replace(client._environment, clock=clock)
        return client

    return open_blocking(make)


@pytest.fixture(scope="session")
def server_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[homeserver.ServerAddress]:
    require("server")
    directory = tmp_path_factory.mktemp("homeserver") / "server"
    address = homeserver.start(directory, owned=True)
    yield address
    homeserver.stop(directory)


@pytest.fixture
def server(server_address: homeserver.ServerAddress, tmp_path: Path) -> Iterator[TestServer]:
    """The homeserver that all tests share."""
    server = TestServer(server_address, tmp_path / "stores")
    yield server
    for each in reversed(server.open):
        each.close()


@dataclass
class Pair:
    """Two clients in one collection: `writer` owns it, `reader` is invited."""

    server: TestServer
    writer: md.Client
    reader: md.Client
    mine: md.Collection
    theirs: md.Collection

    @property
    def room_id(self) -> str:
        return self.mine.room_id

    def raw(self, who: md.Client) -> RawUser:
        return self.server.raw(who.user_id[1:].split(":")[0])


@pytest.fixture
def pair(server: TestServer) -> Pair:
    writer, reader = server.connect(server.name("writer")), server.connect(server.name("reader"))
    mine = writer.create_collection("greenhouse", schema=SCHEMA, encrypted=False, invite=[reader.user_id])
    return Pair(server, writer, reader, mine, reader.collection(mine.room_id))


# --- a network that fails on purpose -----------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A request as it passed."""

    method: str
    path: str
    body: bytes

    @property
    def is_send(self) -> bool:
        return self.method == "PUT" and "/send/" in self.path

    @property
    def is_sync(self) -> bool:
        return urlsplit(self.path).path.endswith("/sync")


@dataclass(frozen=True)
class Answer:
    """An answer that the homeserver never gave."""

    status: int
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()


_SLIDING = re.compile(rb'"org\.matrix\.simplified_msc3575":\s*true')


def hidden_sliding(seen: Seen) -> Any:
    """A fault that makes the server look like one without simplified sliding sync."""
    if seen.path.endswith("/versions"):
        return lambda body: _SLIDING.sub(b'"org.matrix.simplified_msc3575":false', body)
    if "simplified_msc3575" in seen.path:
        return Answer(404, b'{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}')
    return None


CUT = "cut"
"""Close the connection before the request reaches the server."""
LOSE = "lose"
"""Let the server act, then close the connection without its answer."""


class Held:
    """A fault: the server acts, and its answer is held until `release`; then it goes on, if anybody still listens."""

    def __init__(self) -> None:
        self.holding = threading.Event()
        self._released = threading.Event()

    def release(self) -> None:
        self._released.set()

    def __call__(self, content: bytes) -> bytes:
        self.holding.set()
        self._released.wait(60)
        return content


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def _serve(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = Seen(self.command, self.path, body)
        proxy.seen.append(seen)
        fault = proxy.fault(seen)
        if fault == CUT:
            return self._hang_up()
        if isinstance(fault, Answer):
            return self._reply(fault.status, fault.body, fault.headers)
        kept = {k: v for k, v in self.headers.items() if k.lower() in {"authorization", "content-type"}}
        try:
            answer = proxy.http.request(self.command, proxy.target + self.path, content=body, headers=kept)
        except (httpx.HTTPError, RuntimeError):
            return self._hang_up()
        if fault == LOSE:
            return self._hang_up()
        content = fault(answer.content) if callable(fault) else answer.content
        return self._reply(answer.status_code, content)

    def _reply(self, status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True

    do_GET = do_PUT = do_POST = _serve  # noqa: N815  the names that http.server calls

    def log_message(self, *_: Any) -> None:
        pass


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, proxy: Proxy, port: int) -> None:
        self.proxy = proxy
        self.sockets: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.sockets.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: Any) -> None:
        pass  # the client hung up; that is what this is for


class Proxy:
    """Stands between a client and the homeserver; `fault` decides what becomes of each request."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.seen: list[Seen] = []
        self.fault: Callable[[Seen], Any] = lambda _: None
        self.http = httpx.Client(trust_env=False, timeout=60, limits=httpx.Limits(max_connections=100))
        self._listener: _Listener | None = None
        self._port = 0
        self.up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        """The network is there (again)."""
        self._listener = _Listener(self, self._port)
        self._port = self._listener.server_port
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """No connection can be made, and those that stood are cut."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown()
            listener.server_close()
            for each in list(listener.sockets):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.down()
        self.http.close()


def records_in(event: dict[str, Any]) -> list[dict[str, Any]]:
    """The records that an event holds, each with its place there in `index`; written from docs/wire-format.md."""
    if event["type"] != BATCH or not event["content"]:
        return [event] if event["type"] == RECORD else []
    content = event["content"]
    packed = json.loads(zlib.decompress(base64.b64decode(content["records"], validate=True)))
    named = packed.get("uids") or [f"{content['uid']}:{index}" for index in range(content["count"])]
    common = {key: content[key] for key in ("v", "schema") if key in content}
    return [
        {**event, "index": index, "content": {**common, "uid": uid, "value": value}}
        for index, (uid, value) in enumerate(zip(named, packed["values"], strict=True))
    ]


def uids(events: list[dict[str, Any]]) -> list[str]:
    return [event["content"]["uid"] for event in events]


def dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
