"""State keys, types and transaction ids reach the server as they are spelled, and nothing else is written."""

from __future__ import annotations

import anyio
import pytest

from matrixdata.errors import MatrixDataError, Rejected
from matrixdata.protocol import requests
from matrixdata.transport.caller import Caller
from matrixdata.transport.http import HttpTransport
from tests.faults.harness import Break, fault
from tests.servers import encoded

pytestmark = pytest.mark.server

REQUESTS = "matrixdata/protocol/requests.py"
TYPE = "io.example.state"
KEYS = (
    *(".", "..", "", "a/b", "a%2Fb", "%2E", "../..", "./x", "\n", "\0", "\U0001f4a5", "'; DROP TABLE state; --"),
    *("a?b", "a#b", "a;b", "+", " ", "e\u0301", "\u00e9", "\u00e9" * 127, "x" * 255),
)  # fmt: skip
TYPES = (".", "..", "a/b", "%2F", "a\0b", "io..example", "x" * 255)


def perform(raw, *asked):
    """The answers to these requests as that user, through our transport; an error stands for itself."""

    async def work():
        transport = HttpTransport(str(raw.http.base_url), token=raw.token)
        caller, answers = Caller(transport), []
        try:
            for request in asked:
                try:
                    answers.append(await caller.call(request, patience=0))
                except MatrixDataError as error:
                    answers.append(error)
        finally:
            await transport.aclose()
        return answers

    return anyio.run(work)


@pytest.fixture
def raw(server):
    return server.raw(server.name("state"))


@fault(
    "B7", "B16", "B17",
    broken=(
        Break(REQUESTS, 'if text in {".", ".."}:', "if False:"),
        Break(REQUESTS, 'return quote(text, safe="")', 'return quote(text, safe="/")'),
    ),
)  # fmt: skip
def test_each_state_key_and_type_is_written_under_itself_and_nothing_else_changes(raw):
    room_id = raw.create_room()
    before = {(e["type"], e["state_key"]) for e in raw.call("GET", f"{encoded('rooms', room_id)}/state")}
    wanted = {(TYPE, key): {"n": number} for number, key in enumerate(KEYS)}
    wanted |= {(kind, ""): {"kind": number} for number, kind in enumerate(TYPES)}
    answers = perform(
        raw, *(requests.put_state(room_id, *place, content) for place, content in wanted.items())
    )
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    state = raw.call("GET", f"{encoded('rooms', room_id)}/state")
    written = {(e["type"], e["state_key"]): e["content"] for e in state}
    assert {place: content for place, content in written.items() if place not in before} == wanted
    read = perform(raw, *(requests.state_event(room_id, *place) for place in wanted))
    assert not [answer for answer in read if isinstance(answer, Exception)]


@fault("B7", "B17", broken=Break(REQUESTS, 'if text in {".", ".."}:', "if False:"))
def test_message_types_and_transaction_ids_are_spelled_exactly(raw):
    room_id = raw.create_room()
    sends = [requests.send_event(room_id, kind, f"t{n}", b'{"n":1}') for n, kind in enumerate(TYPES)]
    sends += [requests.send_event(room_id, TYPE, txn, b'{"n":2}') for txn in (".", "..", "a/b", "%2F")]
    assert not [answer for answer in perform(raw, *sends) if isinstance(answer, Exception)]
    types = [event["type"] for event in raw.timeline(room_id) if "n" in event["content"]]
    assert types == [*TYPES, TYPE, TYPE, TYPE, TYPE]


@fault(
    "B16",
    "B18",
    broken=Break(
        "matrixdata/transport/http.py",
        "return Rejected(errcode, message, status=status)",
        "return Unknown(message)",
    ),
)
def test_a_key_that_is_too_long_or_anothers_is_a_refusal_with_the_servers_reason(raw):
    room_id = raw.create_room()
    long, other = perform(
        raw,
        requests.put_state(room_id, TYPE, "\u00e9" * 128, {}),
        requests.put_state(room_id, TYPE, "@other:example.org", {}),
    )
    assert isinstance(long, Rejected)
    assert (long.status, long.errcode) == (413, "M_TOO_LARGE")
    assert isinstance(other, Rejected)
    assert (other.status, other.errcode) == (403, "M_FORBIDDEN")
    assert "state" in str(other)
