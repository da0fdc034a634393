"""The scenarios that end-to-end encryption went wrong by in other clients (complement-crypto), on the real server.

docs/encryption-scenarios.md names the test of each.
"""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2ee.devices import device
from tests.e2ee.rooms import reading, sealed, used
from tests.faults.harness import Break, child, fault, run, was_killed
from tests.servers import SCHEMA, Answer, encoded, wait_until

if TYPE_CHECKING:
    from matrixdata import Collection
    from tests.servers import Proxy, RawUser, TestServer

pytestmark = pytest.mark.server

DEVICE_KEYS = "matrixdata/encryption/device_keys.py"
OUTBOUND = "matrixdata/encryption/outbound.py"
SHARING = "matrixdata/encryption/sharing.py"
COURIER = "matrixdata/carrier/courier.py"
ALGORITHM = "signed_curve25519"


def read(collection: Collection) -> list[float]:
    """What somebody reads, who may well lack some of it."""
    query = collection.query(timeout=20, on_incomplete="ignore")
    return sorted(record.value["temp"] for record in query.records())


def lost(collection: Collection) -> int:
    return sum(event.row_state == "undecryptable" for event in collection.history(timeout=20))


def sessions(raw: RawUser, room_id: str) -> list[str]:
    """Of each encrypted event its session, in a row."""
    return [event["content"]["session_id"] for event in sealed(raw, room_id)]


@fault(
    "P8",
    broken=Break(SHARING, "if session is None or _has_to_go(", "if session is None or False and _has_to_go("),
)
def test_who_is_invited_reads_from_then_on_and_who_was_away_not_what_came_meanwhile(
    server: TestServer,
) -> None:
    name = server.name("alice")
    alice, bob, raw = server.connect(name), server.connect(server.name("bob")), server.raw(name)
    mine = alice.create_collection("readings", schema=SCHEMA, trust="all")

    def invite() -> None:  # as a client does it that offers no keys of the past
        raw.invite(mine.room_id, bob.user_id)
        read(mine)  # and so heard of it

    mine.publish(reading(0))
    invite()
    mine.publish(reading(1))
    theirs = bob.collection(mine.room_id, trust="all")
    assert (read(theirs), lost(theirs)) == ([1], 1)

    theirs.leave()
    read(mine)  # and so heard of it
    mine.publish(reading(2))
    invite()
    mine.publish(reading(3))
    theirs = bob.collection(mine.room_id)
    mine.publish(reading(4))
    wait_until(lambda: read(theirs) == [1, 3, 4])
    assert lost(theirs) == 2
    assert read(mine) == [0, 1, 2, 3, 4]


class Week:
    """A clock that is ahead of the right one by as much as a test says."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + self.ahead


@fault("P8", broken=Break(OUTBOUND, "> period", "> 10 * period"))
def test_a_key_is_replaced_when_it_must_be_and_only_then(server: TestServer) -> None:
    name, network, clock = server.name("alice"), server.proxy(), Week()
    alice = server.connect(name, url=network.url, clock=clock)
    bob = device(server, server.name("bob"))
    raw: RawUser = bob.exchange.user  # type: ignore[attr-defined]  # a Homeserver stands there
    mine = alice.create_collection("readings", schema=SCHEMA, trust="all", invite=[raw.user_id])
    raw.join(mine.room_id)

    def changed(what: Any) -> bool:
        """Whether the next record has another key than the one before, after `what` that Alice learns of."""
        asked = sum("/keys/query" in seen.path for seen in network.seen)
        devices_change = what()
        if devices_change:
            wait_until(lambda: sum("/keys/query" in seen.path for seen in network.seen) > asked)
        read(mine)
        mine.publish(reading(1))
        *_, before, after = sessions(hers, mine.room_id)
        return before != after

    def restart() -> None:
        nonlocal alice, mine
        alice.close()
        alice = server.connect(name, url=network.url, clock=clock)
        mine = alice.collection(mine.room_id)

    def rename() -> None:
        body = {"displayname": "Robert"}
        assert raw.answer("PUT", encoded("profile", raw.user_id, "displayname"), body).status_code == 200

    hers = server.raw(name)
    tablet = server.raw(raw.user_id[1:].partition(":")[0])
    mine.publish(reading(0))
    assert not changed(restart)
    assert not changed(rename)
    assert not changed(lambda: device(server, "", user=tablet))  # Bob logs in on another device …
    assert changed(lambda: tablet.call("POST", "logout", {}) or True)  # … and out
    assert not changed(lambda: None)
    hidden = {"history_visibility": "joined"}
    assert changed(lambda: hers.put_state(mine.room_id, "m.room.history_visibility", "", hidden) and None)
    assert changed(lambda: raw.call("POST", f"{encoded('rooms', mine.room_id)}/leave", {}) and None)
    week = 7 * 24 * 3_600_000_000
    clock.ahead = week - 60_000_000
    assert not changed(lambda: None)
    clock.ahead = week + 60_000_000
    assert changed(lambda: None)


def failing(network: Proxy, part: str, times: int) -> None:
    """The first so many requests with this in their path fail; all others pass."""
    left = [times]

    def answer(seen: Any) -> Any:
        if part not in seen.path or not left[0]:
            return None
        left[0] -= 1
        return Answer(503, b"{}")

    network.fault = answer


@fault(
    "P8",
    broken=Break(COURIER, "except (Rejected, Unsupported) as error:", "except MatrixDataError as error:"),
)
@pytest.mark.parametrize("part", ["/keys/query", "/keys/claim", "/sendToDevice/"])
def test_what_fails_on_the_way_to_a_reader_is_tried_again(server: TestServer, part: str) -> None:
    network = server.proxy()
    alice = server.connect(server.name("alice"), url=network.url)
    bob = server.connect(server.name("bob"))
    mine = alice.create_collection("readings", schema=SCHEMA, trust="all", invite=[bob.user_id])
    theirs = bob.collection(mine.room_id, trust="all")
    failing(network, part, 2)
    mine.publish(reading(1), timeout=60)

    assert read(theirs) == [1]
    assert lost(theirs) == 0


def test_a_reader_who_cannot_ask_whose_a_key_is_takes_it_all_the_same(server: TestServer) -> None:
    network = server.proxy()
    alice, bob = server.connect(server.name("alice")), server.connect(server.name("bob"), url=network.url)
    mine = alice.create_collection("readings", schema=SCHEMA, trust="all", invite=[bob.user_id])
    theirs = bob.collection(mine.room_id, trust="all")
    network.fault = lambda seen: Answer(503, b"{}") if "/keys/query" in seen.path else None
    mine.publish(reading(1))
    wait_until(lambda: read(theirs) == [1])


def claimed(by: RawUser, user_id: str, device_id: str) -> dict[str, Any]:
    """A key of that device, which then has one less."""
    body = {"one_time_keys": {user_id: {device_id: ALGORITHM}}}
    answer = by.call("POST", "keys/claim", body)["one_time_keys"]
    [key] = answer.get(user_id, {}).get(device_id, {"": {}}).values()
    return key


def device_of(by: RawUser, user_id: str) -> str:
    listed = by.call("POST", "keys/query", {"device_keys": {user_id: []}})["device_keys"].get(user_id, {})
    return next(iter(listed), "")


@fault("F30", broken=Break(DEVICE_KEYS, 'body["fallback_keys"] = _new_fallback_key(tx)', "pass"))
def test_a_reader_out_of_one_time_keys_whose_uploads_fail_is_reached_and_gets_new_ones_up(
    server: TestServer,
) -> None:
    network, mallory = server.proxy(), server.raw(server.name("mallory"))
    alice, bob = server.connect(server.name("alice")), server.connect(server.name("bob"), url=network.url)
    mine = alice.create_collection("readings", schema=SCHEMA, trust="all", invite=[bob.user_id])
    theirs = bob.collection(mine.room_id, trust="all")
    device_id = wait_until(lambda: device_of(mallory, bob.user_id))
    assert claimed(mallory, bob.user_id, device_id)
    network.fault = lambda seen: Answer(503, b"{}") if "/keys/upload" in seen.path else None
    while not claimed(mallory, bob.user_id, device_id).get("fallback"):
        pass
    mine.publish(reading(1))
    assert read(theirs) == [1]
    assert claimed(mallory, bob.user_id, device_id)["fallback"]

    network.fault = lambda _: None
    wait_until(lambda: not claimed(mallory, bob.user_id, device_id).get("fallback"))


OPEN = """
import matrixdata as md
with md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3], password=sys.argv[4]) as client:
    client.create_collection("own", trust="all").query(timeout=30).count()
"""


@fault(
    "F31",
    broken=Break(
        DEVICE_KEYS, "generate_one_time_keys(count)\n    save(tx, account)", "generate_one_time_keys(count)"
    ),
)
@pytest.mark.parametrize("step", ["keys.1 sending", "keys.2 answered"])
def test_killed_around_the_upload_of_its_keys_a_client_uploads_the_same_ones(
    server: TestServer, step: str
) -> None:
    name, network = server.name("bob"), server.proxy()
    account = server.account(name, url=network.url)
    arguments = account["homeserver"], account["user"], str(account["store"]), account["password"]
    done = run(OPEN, *arguments, kill_at=step)
    assert was_killed(done), done.stderr
    refused: list[bytes] = []

    def watch(content: bytes) -> bytes:
        if b"errcode" in content:
            refused.append(content)
        return content

    network.fault = lambda seen: watch if "/keys/upload" in seen.path else None
    alice, bob = server.connect(server.name("alice")), server.connect(name, url=network.url)
    wait_until(lambda: device_of(server.raw(name), bob.user_id))
    mine = alice.create_collection("readings", schema=SCHEMA, trust="all", invite=[bob.user_id])
    theirs = bob.collection(mine.room_id, trust="all")
    mine.publish(reading(1))

    assert read(theirs) == [1]
    assert refused == []
    uploads = [json.loads(seen.body) for seen in network.seen if "/keys/upload" in seen.path]
    by_id: dict[str, Any] = {}
    for upload in uploads:
        for key_id, key in upload.get("one_time_keys", {}).items():
            assert by_id.setdefault(key_id, key) == key
    assert len({json.dumps(it["device_keys"]["keys"]) for it in uploads if "device_keys" in it}) == 1


@fault("F28", broken=Break(OUTBOUND, "index < session.messages", "True"))
def test_a_store_put_back_whole_notices_that_it_wrote_more_and_uses_no_key_twice(server: TestServer) -> None:
    name = server.name("alice")
    bob = server.connect(server.name("bob"))
    with server.connect(name) as alice:
        mine = alice.create_collection("readings", schema=SCHEMA, trust="all", invite=[bob.user_id])
        theirs = bob.collection(mine.room_id, trust="all")
        mine.publish(reading(0))
    store = server.account(name)["store"]
    shutil.copytree(store, store.with_name("copy"))
    with server.connect(name) as alice:
        alice.collection(mine.room_id).publish_many([reading(1), reading(2)])
    shutil.rmtree(store)
    shutil.copytree(store.with_name("copy"), store)

    mine = server.connect(name).collection(mine.room_id)
    assert read(mine) == [0, 1, 2]
    mine.publish(reading(3))
    assert read(theirs) == [0, 1, 2, 3]
    assert lost(theirs) == 0
    places = [used(event) for event in sealed(server.raw(name), mine.room_id)]
    assert len(places) == len(set(places)) == 4


BOTH = """
import matrixdata as md
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
readings = client.collection(sys.argv[4])
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
for number in range(5):
    readings.publish({"device": "child", "temp": number}, timeout=60)
print(sorted(record.value["temp"] for record in readings.query({"device": "alice"}, timeout=30).records()))
client.close()
"""


def test_two_processes_on_one_store_write_and_read_with_one_set_of_keys(server: TestServer) -> None:
    name = server.name("bob")
    alice, bob = server.connect(server.name("alice")), server.connect(name)
    mine = alice.create_collection("readings", schema=SCHEMA, trust="all", invite=[bob.user_id])
    theirs = bob.collection(mine.room_id, trust="all")
    account = server.account(name)
    other = child(BOTH, account["homeserver"], account["user"], str(account["store"]), mine.room_id)
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    assert other.stdin is not None
    other.stdin.write("go\n")
    other.stdin.flush()
    for number in range(5):
        mine.publish({"device": "alice", "temp": number}, timeout=60)
        theirs.publish({"device": "bob", "temp": number}, timeout=60)
    out, err = other.communicate(timeout=60)

    assert out.strip().startswith("[0"), err
    for reader in (mine, theirs):
        wait_until(lambda reader=reader: read(reader) == sorted([0, 1, 2, 3, 4] * 3))
        assert lost(reader) == 0
    places = [used(event) for event in sealed(server.raw(name), mine.room_id)]
    assert len(places) == len(set(places)) == 15
