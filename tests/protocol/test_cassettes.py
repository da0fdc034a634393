"""Exchanges with a real Synapse, recorded once and replayed without a server: does what it says parse?

`make cassettes` records them anew. Nothing secret is kept: passwords, tokens and all headers but the content
type are taken out before anything is written.
"""

from __future__ import annotations

import copy
import json
import os
import re
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec
import pytest
import vcr
import yaml

from matrixdata import homeserver
from matrixdata.collection.creation import checked_creation
from matrixdata.errors import LoggedOut, RateLimited, Rejected, Unsupported
from matrixdata.protocol import requests
from matrixdata.protocol.canonical import check_size
from matrixdata.protocol.content import COLLECTION, RECORD, pack_record, parse_collection, unpack_record
from matrixdata.protocol.sync import parse_context_state, parse_messages, parse_state
from matrixdata.receiving import SlidingSource, V2Source
from matrixdata.transport.caller import Caller
from matrixdata.transport.http import HttpTransport
from tests.strategies import exact

RECORDING = os.environ.get("MATRIXDATA_RECORD") == "1"
PLACE = Path(__file__).parent.parent / "cassettes"
NAME = "homeserver.invalid"  # a name that no network knows (RFC 6761)
URL = f"http://{NAME}"
REAL_NAME = re.compile(r"matrixdata-[0-9a-f]+\.localhost")
SCRUBBED = "scrubbed"
SECRET_KEYS = ("password", "access_token", "refresh_token", "well_known")
VALUE = {"device": "d1", "temp": 21.5, "n": 2**53 + 1, "tags": ["ü", ""], "deep": {"a.b": -0.0}}

pytestmark = pytest.mark.anyio


# --- recording and replaying ---------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["asyncio"] if RECORDING else ["asyncio", "trio"])
def anyio_backend(request):
    return request.param


def scrubbed(body):
    """A JSON body without its secrets and without the name of the server, which is another one each time."""
    if not body:
        return body
    body = REAL_NAME.sub(NAME, body.decode()).encode()
    try:
        fields = json.loads(body)
    except ValueError:
        return body
    if not isinstance(fields, dict) or not any(key in fields for key in SECRET_KEYS):
        return body
    return json.dumps(fields | {key: SCRUBBED for key in SECRET_KEYS if key in fields}).encode()


def scrub_request(request):
    request = copy.copy(request)
    request.uri = REAL_NAME.sub(NAME, urlunsplit(("http", NAME, *urlsplit(request.uri)[2:])))
    request.headers = {}
    request.body = scrubbed(request.body)
    return request


def scrub_response(response):
    kept = {"content-type", "retry-after"}
    headers = {name: value for name, value in response["headers"].items() if name.lower() in kept}
    return {
        **response,
        "headers": headers,
        "body": {"string": scrubbed(response["body"]["string"])},
    }


RECORDER = vcr.VCR(
    cassette_library_dir=str(PLACE),
    record_mode="all" if RECORDING else "none",
    match_on=("method", "path", "query", "body"),
    before_record_request=scrub_request,
    before_record_response=scrub_response,
)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts a homeserver with the given limits; only for recording."""
    with ExitStack() as running:

        def start(limits):
            directory = tmp_path_factory.mktemp("homeserver") / "server"
            address = homeserver.start(directory, limits=limits, owned=True)
            running.callback(homeserver.stop, directory)
            return address

        yield start


class User:
    """Somebody logged in, for as long as the cassette runs."""

    def __init__(self, transport, user_id):
        self.transport, self.user_id = transport, user_id
        self.caller = Caller(transport)

    async def call(self, request):
        return await self.transport.send(request)

    async def create(self, **options):
        given = {"schema": None, "time": None, "time_unit": "iso", "public": False, "invite": ()}
        creation = checked_creation("greenhouse", encrypted=False, **{**given, **options})
        body = await self.call(requests.create_room(creation.body("creation")))
        return msgspec.json.decode(body)["room_id"]

    async def send(self, room_id, txn_id, value=VALUE):
        content = msgspec.json.encode(pack_record(value, uid=txn_id))
        return msgspec.json.decode(await self.call(requests.send_event(room_id, RECORD, txn_id, content)))[
            "event_id"
        ]


@pytest.fixture
def cassette(start):
    """A logged-in user whose every request is recorded in, or answered from, the cassette of that name."""

    @asynccontextmanager
    async def play(name, *, limits="wide"):
        address = start(limits) if RECORDING else None
        password = homeserver.register(address, "ada") if address else "unknown"
        if RECORDING:
            (PLACE / f"{name}.yaml").unlink(missing_ok=True)
        transport = HttpTransport(address.url if address else URL)
        with RECORDER.use_cassette(f"{name}.yaml"):
            try:
                body = await transport.send(requests.login("ada", password, device_name="cassette"))
                session = msgspec.json.decode(body)
                transport.use_token(session["access_token"])
                yield User(transport, session["user_id"])
            finally:
                await transport.aclose()

    return play


# --- what is promised ----------------------------------------------------------------------------------


async def test_logging_in_and_out(cassette):
    async with cassette("session") as ada:
        assert ada.user_id.startswith("@ada:")
        versions = msgspec.json.decode(await ada.call(requests.versions()))
        assert "v1.11" in versions["versions"]
        assert versions["unstable_features"]["org.matrix.simplified_msc3575"] is True
        who = msgspec.json.decode(await ada.call(requests.whoami()))
        assert who["user_id"] == ada.user_id
        with pytest.raises(Rejected) as caught:
            await ada.call(requests.login("nobody", "wrong", device_name="cassette"))
        assert (caught.value.errcode, caught.value.status) == ("M_FORBIDDEN", 403)
        await ada.call(requests.logout())
        with pytest.raises(LoggedOut) as caught:
            await ada.call(requests.whoami())
        assert not caught.value.soft


async def test_a_collection_is_created_and_its_state_read(cassette):
    async with cassette("create") as ada:
        schema = {"type": "object", "properties": {"temp": {"type": "number", "maximum": 99.5}}}
        room_id = await ada.create(schema=schema, time="ts")
        state = {(e.type, e.state_key): e for e in parse_state(await ada.call(requests.room_state(room_id)))}
        assert {("m.room.create", ""), ("m.room.member", ada.user_id), (COLLECTION, "")} <= set(state)
        stated = parse_collection(msgspec.json.decode(state[COLLECTION, ""].content))
        assert (stated.name, stated.uid, stated.time.pointer) == ("greenhouse", "creation", "/ts")
        assert stated.require_schema
        assert stated.schema.version == "1"
        alone = msgspec.json.decode(await ada.call(requests.state_event(room_id, COLLECTION)))
        assert parse_collection(alone) == stated
        assert msgspec.json.decode(await ada.call(requests.joined_rooms())) == {"joined_rooms": [room_id]}
        await ada.call(requests.join(room_id))
        await ada.call(
            requests.put_account_data(ada.user_id, "io.matrixdata.binding...", {"room_id": room_id})
        )
        data = await ada.call(requests.account_data(ada.user_id, "io.matrixdata.binding..."))
        assert msgspec.json.decode(data) == {"room_id": room_id}
        for missing in (
            requests.account_data(ada.user_id, "io.matrixdata.binding.other"),
            requests.state_event(room_id, "io.matrixdata.schema", "2"),
            requests.resolve_alias("#nowhere:" + ada.user_id.split(":", 1)[1]),
        ):
            with pytest.raises(Rejected) as caught:
                await ada.call(missing)
            assert (caught.value.errcode, caught.value.status) == ("M_NOT_FOUND", 404)
        with pytest.raises(Rejected) as caught:
            await ada.call(requests.room_state("!nowhere:example.org"))
        assert (caught.value.errcode, caught.value.status) == ("M_FORBIDDEN", 403)


async def test_a_record_is_sent_once_for_each_transaction_id_and_read_back_exactly(cassette):
    async with cassette("send") as ada:
        room_id = await ada.create()
        event_id = await ada.send(room_id, "t1")
        assert await ada.send(room_id, "t1") == event_id
        page = parse_messages(await ada.call(requests.messages(room_id, start=None, limit=1)))
        (event,) = page.events
        assert (event.event_id, event.type, event.sender, event.fault) == (event_id, RECORD, ada.user_id, "")
        assert exact(unpack_record(msgspec.json.decode(event.content)).value) == exact(VALUE)
        older = parse_messages(await ada.call(requests.messages(room_id, start=page.end, limit=1000)))
        assert older.events[-1].type == "m.room.create"
        state = parse_context_state(await ada.call(requests.context(room_id, event_id)))
        assert COLLECTION in {e.type for e in state}
        redaction = requests.send_event(
            room_id, "m.room.redaction", "t2", msgspec.json.encode({"redacts": event_id})
        )
        await ada.call(redaction)
        page = parse_messages(await ada.call(requests.messages(room_id, start=None, limit=2)))
        assert page.events[0].redacts == event_id
        assert page.events[1].redacted


async def test_the_server_refuses_what_matrix_forbids(cassette):
    async with cassette("refusals") as ada:
        room_id = await ada.create()
        huge = {"text": "x" * 66_000}
        for number, (body, errcode, status) in enumerate(
            [
                (b'{"temp":21.5}', "M_BAD_JSON", 400),
                (b'{"n":9007199254740993}', "M_BAD_JSON", 400),
                (b'{"temp":NaN}', "M_NOT_JSON", 400),
                (msgspec.json.encode(huge), "M_TOO_LARGE", 413),
            ]
        ):
            with pytest.raises(Rejected) as caught:
                await ada.call(requests.send_event(room_id, RECORD, f"t{number}", body))
            assert (caught.value.errcode, caught.value.status) == (errcode, status)
        with pytest.raises(ValueError, match="bytes"):
            check_size(huge, event_type=RECORD, room_id=room_id, sender=ada.user_id)
        with pytest.raises(Unsupported):
            await ada.call(requests.Request("GET", requests.path("nothing", "like", "this")))


async def test_simplified_sliding_sync(cassette, monkeypatch):
    monkeypatch.setattr("matrixdata.receiving.sources.TIMELINE_LIMIT", 2)
    async with cassette("sliding_sync") as ada:
        refused = requests.sliding_sync({"conn_id": "c", "lists": {}}, pos="garbage", timeout_ms=0)
        await synced(ada, SlidingSource(ada.caller), refused)


async def test_sync_version_2(cassette, monkeypatch):
    monkeypatch.setattr("matrixdata.receiving.sources.TIMELINE_LIMIT", 2)
    async with cassette("sync_v2") as ada:
        refused = requests.sync_v2(since="garbage", filter_json="{}", timeout_ms=0)
        await synced(ada, V2Source(ada.caller), refused)


async def synced(ada, source, refused):
    """Both kinds of sync tell the same story."""
    room_id = await ada.create()
    first = await source.poll(None, [room_id], timeout_ms=0)
    (room,) = first.rooms
    assert (room.room_id, room.limited, len(room.timeline), room.unreadable) == (room_id, True, 2, 0)
    assert room.prev_batch
    assert COLLECTION in {event.type for event in (*room.state, *room.timeline)}
    sent = [await ada.send(room_id, f"t{number}") for number in range(2)]
    second = await source.poll(first.token, [room_id], timeout_ms=0)
    (room,) = second.rooms
    assert [event.event_id for event in room.timeline] == sent
    assert [event.txn_id for event in room.timeline] == ["t0", "t1"]
    assert not room.limited
    missed = [await ada.send(room_id, f"u{number}") for number in range(3)]
    third = await source.poll(second.token, [room_id], timeout_ms=0)
    (room,) = third.rooms
    assert [event.event_id for event in room.timeline] == missed[1:]
    assert room.limited
    page = parse_messages(await ada.call(requests.messages(room_id, start=room.prev_batch, limit=2)))
    assert [event.event_id for event in page.events] == [missed[0], sent[-1]]
    assert (await source.poll(third.token, [room_id], timeout_ms=0)).rooms == ()
    with pytest.raises(Rejected) as caught:
        await ada.call(refused)
    assert caught.value.status == 400
    assert caught.value.errcode in {"M_UNKNOWN", "M_UNKNOWN_POS"}  # by which a sync starts anew


async def test_the_stock_rate_limit(cassette):
    async with cassette("rate_limit", limits="stock") as ada:
        room_id = await ada.create()
        with pytest.raises(RateLimited) as caught:  # noqa: PT012  which of them it is, the server decides
            for number in range(30):
                await ada.send(room_id, f"t{number}", {"n": number})
        assert 5 <= number < 29
        assert 0 < caught.value.retry_after < 60


# --- what a cassette may hold ----------------------------------------------------------------------------


@pytest.fixture(params=sorted(PLACE.glob("*.yaml")), ids=lambda path: path.stem)
def recorded(request):
    return request.param.read_text(encoding="utf-8")


def test_no_cassette_holds_a_secret_or_says_where_it_was_recorded(recorded):
    for forbidden in ("syt_", "mat_", "Bearer", "uthorization", "127.0.0.1", "localhost", "/home/", "/tmp/"):
        assert forbidden not in recorded
    for key in SECRET_KEYS:
        values = re.findall(rf'"{key}":\s*([^,}}]*)', recorded)
        assert {*values} <= {f'"{SCRUBBED}"'}, key
    for exchange in yaml.safe_load(recorded)["interactions"]:
        assert exchange["request"]["headers"] == {}
        assert exchange["request"]["uri"].startswith(URL)
        assert {name.lower() for name in exchange["response"]["headers"]} <= {"content-type", "retry-after"}


def test_scrubbing_takes_secrets_out_of_bodies_and_leaves_others_as_they_are():
    body = b'{"a": 1,  "password": "s3cret", "access_token": "syt_x"}'
    assert json.loads(scrubbed(body)) == {"a": 1, "password": SCRUBBED, "access_token": SCRUBBED}
    for other in (b'{"temp":21.5}', b"[1]", b"<html>", b"", None):
        assert scrubbed(other) == other
