"""Faults in the life of a session: it expires, ends, is renewed by two at once, or dies while it is renewed."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing

import httpx
import pytest

import matrixdata as md
from matrixdata import homeserver
from matrixdata.model.session import Session
from matrixdata.replica.account import read_session
from tests.faults.harness import Break, Ledger, child, fault, run, was_killed
from tests.requirements import require
from tests.servers import CLIENT, LOSE, SCHEMA, Answer, TestServer, wait_until

SESSION = "matrixdata/transport/session.py"
LEADING = "matrixdata/receiving/leading.py"
SENDER = "matrixdata/publishing/sender.py"
LIFETIME_MS = 1000
YEAR = 365 * 86_400 * 1_000_000


@pytest.fixture(scope="module")
def brief_address(tmp_path_factory):
    """A homeserver whose access tokens live for a second."""
    require("server")
    directory = tmp_path_factory.mktemp("brief") / "server"
    yield homeserver.start(
        directory, owned=True, extra_config={"refreshable_access_token_lifetime": LIFETIME_MS}
    )
    homeserver.stop(directory)


@pytest.fixture
def brief(brief_address, tmp_path):
    server = TestServer(brief_address, tmp_path / "stores")
    yield server
    for each in reversed(server.open):
        each.close()


@pytest.fixture
def name(brief):
    return brief.name("writer")


def database(store):
    return closing(sqlite3.connect(store / "account.db", isolation_level=None))


def stored(store) -> Session:
    """The session in a store, as any process finds it there."""
    with database(store) as account:
        found = read_session(account)
    assert found is not None
    return found


def answer_to(server, token) -> httpx.Response:
    """What the server says to an access token."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{server.url}{CLIENT}/account/whoami", headers=headers, trust_env=False)


def expire(server, store):
    """Wait until the server no longer accepts the stored access token; say which it was."""
    token = stored(store).access_token
    wait_until(lambda: answer_to(server, token).status_code == 401)
    return token


def end_session(server, store):
    """End the session on the server, as somebody does who removes the device."""
    headers = {"Authorization": f"Bearer {stored(store).access_token}"}
    answer = httpx.post(f"{server.url}{CLIENT}/logout", headers=headers, json={}, trust_env=False)
    assert answer.status_code == 200, answer.text


def record(number):
    return {"device": "d1", "temp": 20.5, "n": number}


def publish(ledger, collection, numbers, **options):
    for number in numbers:
        ledger.accept(collection.publish(record(number), uid=f"u{number}", **options).uid)


def refused(*, soft):
    """The answer to a request with a token that does not serve."""
    body = {"errcode": "M_UNKNOWN_TOKEN", "error": "Access token has expired", "soft_logout": soft}
    return Answer(401, json.dumps(body).encode())


def is_refresh(seen):
    return seen.path.endswith("/refresh")


# --- F6: it expires ------------------------------------------------------------------------------------

NEVER_RENEWED = Break(
    SESSION, "self._refreshable = session.refresh_token is not None", "self._refreshable = False"
)
NOT_SENT_AGAIN = Break(SESSION, "await self._replace(used, error)", "raise")


@fault("F6", broken=NEVER_RENEWED)
def test_an_expired_token_is_renewed_and_nobody_notices(brief, name):
    client = brief.connect(name)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    device, ledger, tokens = client.status().device_id, Ledger(), set()
    with readings.subscribe() as subscription:
        for number in range(3):
            tokens.add(expire(brief, client._client._store.directory))
            publish(ledger, readings, [number])
            assert subscription.get(timeout=10).value == record(number)
    assert len(tokens) == 3
    assert client.status().device_id == device
    assert client.status().problem is None
    ledger.check_server(brief.raw(name), readings.room_id)
    ledger.check_reader(client, readings.room_id)


@fault("F34", broken=NOT_SENT_AGAIN)
@pytest.mark.parametrize("years", [-1, 1])
def test_a_clock_a_year_off_renews_too_early_or_is_told_by_the_server(brief, name, years):
    with brief.connect(name) as client:
        room_id = client.create_collection("readings", schema=SCHEMA, encrypted=False).room_id
    account = brief.account(name)
    with database(account["store"]) as changed:
        changed.execute("UPDATE session SET obtained_at = obtained_at + ?", (years * YEAR,))
    before, ledger = expire(brief, account["store"]), Ledger()
    with md.connect(store=account["store"]) as client:
        client.collections()
        publish(ledger, client.collection("readings"), range(2))
        assert client.status().problem is None
        # What must not be sent twice is sent again too: nobody acted on it.
        expire(brief, account["store"])
        client.create_collection("another", schema=SCHEMA, encrypted=False)
    assert stored(account["store"]).access_token != before
    ledger.check_server(brief.raw(name), room_id)


# --- F7: two processes at once -------------------------------------------------------------------------

TWO_AT_ONCE = """
import matrixdata as md
client = md.connect(store=sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
client.collections()
receipt = client.collection("readings").publish({"device": "d1", "temp": 1.5}, uid=sys.argv[2], timeout=30)
print(receipt.state, client.status().problem, flush=True)
client.close()
"""
NO_LOCK = Break(SESSION, "while not (held := lock.acquire()):", "while not (held := True):")
NOT_READ_AGAIN = Break(
    SESSION, "if stored is None or stored.access_token in {None, used.access_token}:", "if True:"
)
NOT_READ_AGAIN_LOCKED = Break(
    SESSION, "if await self._adopt(used) or await self._refresh(used):", "if await self._refresh(used):"
)


@fault("F7", broken=(NO_LOCK, NOT_READ_AGAIN_LOCKED))
def test_two_processes_whose_token_expires_refresh_it_once(brief, name):
    network = brief.proxy()
    with brief.connect(name, url=network.url) as client:
        room_id = client.create_collection("readings", schema=SCHEMA, encrypted=False).room_id
    store = brief.account(name)["store"]
    again, used = threading.Event(), []

    def hold(seen):
        if is_refresh(seen):
            if seen.body in used:
                again.set()
            used.append(seen.body)
            if len(used) == 1:
                again.wait(1)  # the other process has all this time to ask with the same refresh token

    processes = [child(TWO_AT_ONCE, str(store), f"u{n}") for n in range(2)]
    for process in processes:
        assert process.stdout.readline() == "open\n", process.communicate()[1]
    expire(brief, store)
    network.fault = hold
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=60) for process in processes]
    assert [out for out, _ in ends] == ["sent None\n", "sent None\n"], ends
    assert len(used) == len(set(used)), "one refresh token was used twice"
    Ledger({"u0", "u1"}).check_server(brief.raw(name), room_id)


@fault("F7", broken=NOT_READ_AGAIN)
def test_a_refusal_of_a_token_that_another_has_renewed_is_no_logout(server):
    network, name = server.proxy(), server.name()
    idle, busy = server.connect(name, url=network.url), server.connect(name, url=network.url)
    idle.create_collection("readings", schema=SCHEMA, encrypted=False)
    answers = []
    network.fault = lambda _: answers.pop() if answers else None
    first = stored(server.account(name)["store"]).access_token
    answers.append(refused(soft=True))
    busy.collections()
    assert stored(server.account(name)["store"]).access_token != first
    network.seen.clear()
    # What the server says to the token of one who lost a race (measured): it looks like a deleted device.
    answers.append(refused(soft=False))
    assert [info.name for info in idle.collections()] == ["readings"]
    assert not [seen for seen in network.seen if is_refresh(seen)]
    assert idle.status().problem is None


# --- F8: lost between the answer and the disk ----------------------------------------------------------

GIVEN_UP = Break(
    SESSION, 'raise NotSent(f"the session could not be renewed: {said}") from None', "return False"
)
USED_BEFORE_STORED = Break(
    SESSION,
    'reached("session.1 refreshed")',
    'self._use(renewed); await self._http.send(requests.whoami()); reached("session.1 refreshed")',
)


@fault("F8", broken=GIVEN_UP)
def test_new_tokens_whose_answer_is_lost_are_asked_for_again(brief, name):
    network = brief.proxy()
    client = brief.connect(name, url=network.url)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    lost, ledger = [], Ledger()

    def lose_two(seen):
        if is_refresh(seen) and len(lost) < 2:
            lost.append(seen)
            return LOSE
        return None

    expire(brief, brief.account(name)["store"])
    network.fault = lose_two
    client.collections()
    publish(ledger, readings, range(2))
    assert len(lost) == 2
    assert client.status().problem is None
    ledger.check_server(brief.raw(name), readings.room_id)


DIES = """
import matrixdata as md
client = md.connect(store=sys.argv[1])
client.collection("readings").publish({"device": "d1", "temp": 1.5}, uid="u0", wait="queued")
client.collections()
client.close()
"""


@fault("F8", broken=USED_BEFORE_STORED)
@pytest.mark.parametrize("step", ["session.1 refreshed", "session.2 stored"])
def test_killed_while_the_session_is_renewed_the_next_start_goes_on(brief, name, step):
    with brief.connect(name) as client:
        device = client.status().device_id
        room_id = client.create_collection("readings", schema=SCHEMA, encrypted=False).room_id
    store = brief.account(name)["store"]
    before = expire(brief, store)
    done = run(DIES, str(store), kill_at=step)
    assert was_killed(done), done.stderr
    assert (stored(store).access_token == before) == (step == "session.1 refreshed")
    with md.connect(store=store) as client:  # there is no password: only the stored tokens
        wait_until(lambda: client.status().queued == 0)
        client.collections()
        assert client.status().problem is None
        assert client.status().device_id == device
    Ledger(offered={"u0"}).check_server(brief.raw(name), room_id)


# --- F5: it ends ---------------------------------------------------------------------------------------

RESTS_FOR_EVER = Break(SENDER, "if self._logged_out and not await self._usable():", "if self._logged_out:")
SYNC_ENDS = Break(LEADING, "await self._rest(error)", "raise")


@fault("F5", broken=(RESTS_FOR_EVER, SYNC_ENDS))
@pytest.mark.parametrize("soft", [True, False], ids=["expired", "device deleted"])
def test_a_running_client_whose_session_ended_goes_on_after_a_login_elsewhere(brief, name, soft):
    account = brief.account(name)
    client = brief.connect(name)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    readings.query().count()
    client.close()
    if soft:  # nothing to renew it with
        with database(account["store"]) as changed:
            changed.execute("UPDATE session SET refresh_token = NULL")
        expire(brief, account["store"])
    else:
        end_session(brief, account["store"])
    client = md.connect(store=account["store"])
    brief.open.append(client)
    device = client.status().device_id
    with pytest.raises(md.LoggedOut, match="matrixdata login") as ended:
        client.collections()
    assert ended.value.soft == soft
    readings, ledger = client.collection("readings"), Ledger()
    publish(ledger, readings, range(3), wait="queued")
    with pytest.raises(md.LoggedOut):
        readings.subscribe().__enter__()
    wait_until(lambda: client.status().problem)
    assert client.status().queued == 3
    assert ("expired" if soft else "no longer logged in") in client.status().problem

    with md.connect(**account) as elsewhere:  # with the password, as another process would
        assert (elsewhere.status().device_id == device) == soft
        now = elsewhere.status().device_id
    wait_until(lambda: client.status().queued == 0)
    raw = brief.raw(name)
    assert [event["content"]["uid"] for event in raw.records(readings.room_id)] == ["u0", "u1", "u2"]
    assert client.status().device_id == now
    with readings.subscribe() as subscription:
        publish(ledger, readings, [3])
        assert subscription.get(timeout=10).value == record(3)
    assert client.status().problem is None
    ledger.check_server(raw, readings.room_id)
    ledger.check_reader(client, readings.room_id)
