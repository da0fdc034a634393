"""The life of a client: closing, forking, copying, interrupting, and what it leaves on disk and in logs."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import traceback

import anyio
import pytest

import matrixdata as md
from tests.faults.harness import Break, fault
from tests.requirements import ROOT
from tests.servers import CUT, wait_until

pytestmark = pytest.mark.server

PROGRAM = """
import json, os, signal, sys, threading, time, warnings
import matrixdata as md
account = json.loads(sys.argv[1])
def say(*words): print(*words, flush=True)
"""


def program(body, account, *arguments):
    """A program of its own that begins with `account`, and `md`, and `say` defined."""
    import json

    given = json.dumps({**account, "store": str(account["store"])})
    command = [sys.executable, "-c", PROGRAM + body, given, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def finished(process, seconds=30):
    """Its output, once it ended by itself and well."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"it hung:\n{out}\n{err}")
    assert process.returncode == 0, err
    return out.split()


# --- after the end -----------------------------------------------------------------------------------


def test_a_closed_client_refuses_every_call_with_clientclosed(server):
    client = server.connect(server.name())
    collection = client.create_collection("x", encrypted=False)
    receipt = collection.publish({"n": 1}, wait="synced")
    query, history = collection.query(), collection.history()
    sub = collection.subscribe()
    with sub:
        pass
    client.close()
    client.close()
    assert "closed" in repr(client)
    calls = [
        client.status, client.collections, client.invites, client.logout,
        lambda: client.outbox,
        lambda: client.collection("x"),
        lambda: client.create_collection("y", encrypted=False),
        lambda: collection.publish({"n": 2}),
        lambda: collection.publish_many([{"n": 2}]),
        lambda: collection.query().values(),
        lambda: collection.subscribe().__enter__(),
        lambda: collection.invite("@a:b"),
        lambda: list(collection.members()),
        lambda: list(collection.state()),
        collection.leave, collection.sync, collection.invalid,
        query.values, query.count, query.to_pandas, lambda: query.completeness,
        history.records, receipt.wait, sub.get, sub.take,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(md.ClientClosed):
            call()
    # What is known without the client can still be read.
    assert (receipt.state, collection.name, collection.schema) == ("synced", "x", None)


@pytest.mark.anyio
async def test_a_closed_async_client_refuses_every_call_with_clientclosed(server):
    async with md.connect_async(**server.account(server.name())) as client:
        collection = await client.create_collection("x", encrypted=False)
        await collection.publish({"n": 1}, wait="synced")
        query, history, outbox = collection.query(), collection.history(), client.outbox
        sub = collection.subscribe()
        async with sub:
            pass
        never_entered = collection.subscribe()
    calls = [
        client.status, client.collections, client.invites, client.logout,
        lambda: client.collection("x"),
        lambda: client.create_collection("y", encrypted=False),
        lambda: collection.publish({"n": 2}),
        lambda: collection.publish_many([{"n": 2}]),
        lambda: collection.invite("@a:b"),
        collection.members().records, collection.state().records,
        collection.leave, collection.sync, collection.invalid,
        query.values, query.count, query.to_pandas, query.measured,
        history.records, outbox.list, lambda: outbox.retry("x"), lambda: outbox.cancel("x"),
        sub.get, never_entered.__aenter__,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(md.ClientClosed):
            await call()
    for call in (collection.query, collection.subscribe, lambda: client.outbox):
        with pytest.raises(md.ClientClosed):
            call()


def test_closing_in_another_thread_ends_whatever_waits_with_clientclosed(server):
    proxy = server.proxy()
    client = server.connect(server.name(), url=proxy.url)
    collection = client.create_collection("x", encrypted=False)
    collection.publish({"n": 1}, wait="synced")
    sub = collection.subscribe()
    sub.__enter__()
    proxy.fault = lambda _: CUT
    waits = [
        lambda: next(sub),
        lambda: collection.publish({"n": 2}, timeout=60),
        lambda: collection.publish_many([{"n": 3}], timeout=60),
        lambda: collection.query(timeout=60).values(),
        collection.sync,
    ]
    ended = {}

    def run(number, wait):
        try:
            ended[number] = wait()
        except BaseException as error:  # noqa: BLE001  looked at below
            ended[number] = error

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(waits)]
    for thread in threads:
        thread.start()
    wait_until(lambda: client.status().queued == 2)
    client.close()
    for thread in threads:
        thread.join(10)
    assert {type(end) for end in ended.values()} == {md.ClientClosed}
    assert len(ended) == len(waits)


@fault(
    "F27",
    broken=Break(
        "matrixdata/connect/blocking.py", "call matrixdata.connect(...) where you need another", "no"
    ),
)
def test_a_client_cannot_be_pickled_or_copied_nor_can_what_hangs_on_it(pair):
    for thing in (pair.writer, pair.mine, pair.mine.query(), pair.mine.subscribe()):
        for attempt in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                attempt(thing)
    with pytest.raises(TypeError, match="connect"):
        copy.copy(pair.writer)
    assert pair.writer.status().connected


@pytest.mark.anyio
async def test_an_async_client_cannot_be_pickled_or_copied(server):
    async with md.connect_async(**server.account(server.name())) as client:
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="connect"):
                attempt(client)


def test_logging_out_keeps_the_data_and_a_new_device_goes_on(server):
    account = server.account(server.name())
    with md.connect(**account) as client:
        device = client.status().device_id
        client.create_collection("x", encrypted=False).publish({"n": 1}, wait="synced")
        client.logout()
        with pytest.raises(md.ClientClosed):
            client.status()
    with pytest.raises(md.LoggedOut, match="password"):
        md.connect(store=account["store"])
    with md.connect(**account) as client:
        assert (
            client.status().device_id != device
        )  # the server has forgotten that one and its transaction ids
        assert client.collection("x").query(timeout=0).values() == [{"n": 1}]


# --- errors in the with block ------------------------------------------------------------------------


@pytest.mark.anyio
async def test_an_error_in_the_with_block_comes_out_as_it_is(server):
    account = server.account(server.name())
    for error in (ValueError("mine"), KeyboardInterrupt(), md.RecordInvalid([])):
        with pytest.raises(type(error)) as caught:  # noqa: PT012  the block is what is tested
            async with md.connect_async(**account) as client:
                await client.create_collection("x", encrypted=False, exist_ok=True)
                raise error
        assert caught.value is error


@pytest.mark.anyio
async def test_cancelling_the_with_block_closes_the_client_and_frees_its_store(server):
    account = server.account(server.name())
    for _ in range(2):
        with anyio.move_on_after(30) as scope:
            async with md.connect_async(**account) as client:
                collection = await client.create_collection("x", encrypted=False, exist_ok=True)
                async with collection.subscribe(), anyio.create_task_group() as tasks:
                    tasks.start_soon(collection.sync)
                    scope.cancel()
                    await anyio.sleep(60)
        assert scope.cancelled_caught


# --- signals, forks, exits ---------------------------------------------------------------------------


def test_ctrl_c_comes_through_within_a_second_and_the_client_stays_usable(server):
    proxy = server.proxy()
    account = server.account(server.name(), url=proxy.url)
    running = program(
        """
client = md.connect(**account)
collection = client.create_collection("x", encrypted=False)
with collection.subscribe() as sub:
    for wait in (sub.get, lambda: next(sub), lambda: collection.publish({"n": 1}, timeout=60)):
        sys.stdin.readline()
        say("waiting")
        try:
            wait()
        except KeyboardInterrupt:
            say("interrupted")
sys.stdin.readline()
collection.publish({"n": 2}, wait="synced")
say(collection.query().count(), client.status().queued)
client.close()
""",
        account,
    )

    def tell():
        running.stdin.write("\n")
        running.stdin.flush()

    try:
        for _ in range(3):
            tell()
            assert running.stdout.readline() == "waiting\n", running.stderr.read()
            proxy.fault = lambda seen: CUT if seen.is_send else None
            time.sleep(0.2)  # until it waits; interrupted earlier, it would say the same
            before = time.monotonic()
            running.send_signal(signal.SIGINT)
            assert running.stdout.readline() == "interrupted\n"
            assert time.monotonic() - before < 1
        proxy.fault = lambda _: None
        tell()
        # What was accepted before Ctrl-C is not lost by it.
        assert finished(running) == ["2", "0"]
    finally:
        running.kill()
        running.wait()


FORKED = """
warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads, which is the point here
client = md.connect(**account)
collection = client.create_collection("x", encrypted=False)
receipt = collection.publish({"n": 1}, wait="synced")
query, sub = collection.query(), collection.subscribe()
sub.__enter__()
pid = os.fork()
if pid == 0:
    client_calls = [client.status, lambda: client.collection("x"), lambda: collection.publish({"n": 2}),
                    lambda: collection.query(), query.values, sub.get, receipt.wait, lambda: client.outbox]
    for call in client_calls:
        try:
            call()
            say("no error")
        except md.ForkedClient as error:
            assert "connect" in str(error)
    client.close()
    with md.connect(**{**account, "store": account["store"] + "-child"}) as own:
        say("child", own.collection("x").query().count())
    sys.exit(0)  # with everything Python does at its end
assert os.waitpid(pid, 0)[1] == 0
collection.publish({"n": 3}, wait="synced")
assert sub.get(timeout=10).value == {"n": 3}
say("parent", collection.query().count())
client.close()
"""


@fault(
    "F27",
    broken=Break(
        "matrixdata/connect/portal.py",
        "os.getpid() != self._pid:\n            raise",
        "False:\n            raise",
    ),
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_fork_gets_forkedclient_may_connect_anew_and_leaves_its_parent_unharmed(server):
    account = server.account(server.name())
    assert finished(program(FORKED, account)) == ["child", "1", "parent", "2"]
    with md.connect(**account) as client:  # nobody holds the store any more
        assert client.collection("x").query().count() == 2


@pytest.mark.parametrize("how", ["end", "thread"])
def test_the_interpreter_ends_without_close_and_nothing_accepted_is_lost(server, how):
    proxy = server.proxy()
    account = server.account(server.name(), url=proxy.url)
    running = program(
        """
client = md.connect(**account)
collection = client.create_collection("x", encrypted=False)
sub = collection.subscribe()
sub.__enter__()
say("cut")
sys.stdin.readline()
collection.publish({"n": 1}, wait="queued")
if sys.argv[2] == "thread":
    threading.Thread(target=sub.get, daemon=True).start()
""",
        account,
        how,
    )
    assert running.stdout.readline() == "cut\n", running.stderr.read()
    proxy.fault = lambda seen: CUT if seen.is_send else None
    before = time.monotonic()
    finished(running)
    assert time.monotonic() - before < 10
    proxy.fault = lambda _: None
    with md.connect(**account) as client:
        assert client.collection("x").query().values() == [{"n": 1}]


# --- what it leaves ----------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_only_the_owner_can_read_the_files_whatever_the_umask(server):
    account = server.account(server.name())
    before = os.umask(0o022)
    try:
        with md.connect(**account) as client:
            collection = client.create_collection("x", encrypted=False)
            collection.publish({"n": 1}, wait="synced")
            collection.query().count()
            found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in account["store"].iterdir()}
    finally:
        os.umask(before)
    assert {"account.db", "account.db-wal", "account.db-shm", "replica.db", "replica.db-wal"} <= set(found)
    assert {"sync.lock", "send.lock"} <= set(found)
    assert set(found.values()) == {0o600}
    assert stat.S_IMODE(account["store"].stat().st_mode) == 0o700


def test_an_open_directory_is_closed_and_a_link_is_refused(server, tmp_path):
    account = server.account(server.name())
    loose = tmp_path / "loose"
    loose.mkdir()
    loose.chmod(0o755)
    with md.connect(**{**account, "store": loose}):
        assert stat.S_IMODE(loose.stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(loose)
    with pytest.raises(md.MatrixDataError, match="not a directory"):
        md.connect(**{**account, "store": tmp_path / "link"})


@pytest.mark.parametrize("file", ["account.db", "replica.db"])
def test_a_store_of_a_newer_version_is_refused_politely_and_not_changed(server, file):
    account = server.account(server.name())
    with md.connect(**account):
        pass
    path = account["store"] / file
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 999")
    database.close()
    before = path.read_bytes()
    with pytest.raises(md.MatrixDataError, match="newer matrixdata"):
        md.connect(**account)
    assert path.read_bytes() == before


def test_a_store_belongs_to_one_user(server):
    ada, ben = server.account(server.name()), server.account(server.name())
    with md.connect(**ada):
        pass
    with pytest.raises(md.Conflict, match="belongs to"):
        md.connect(**{**ben, "store": ada["store"]})


# --- secrets -----------------------------------------------------------------------------------------


def seen_by_a_debugger(error):
    """A traceback with the values of local variables, as IPython's verbose mode prints it; library frames only."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    found = []
    while shown is not None:
        for frame in shown.stack:
            if "/matrixdata/" in frame.filename:
                found += [f"{name}={value}" for name, value in (frame.locals or {}).items()]
        found += list(shown.format_exception_only())
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
    return "\n".join(found)


def test_no_token_or_password_is_shown_by_anything(server, caplog):
    caplog.set_level(logging.DEBUG)
    proxy = server.proxy()
    account = server.account(server.name(), url=proxy.url)
    client = md.connect(**account)
    server.open.append(client)
    core = client._client
    token = core._session.access_token
    assert token
    collection = client.create_collection("x", encrypted=False)
    receipt = collection.publish({"n": 1}, wait="synced")
    query = collection.query()
    query.to_pandas()
    shown = [
        f"{thing!r} {thing!s} {vars(thing) if hasattr(thing, '__dict__') else ''}"
        for thing in (
            *(client, collection, receipt, query, client.status(), collection.subscribe(), client.outbox),
            *(core, core._session, core._transport, core._caller, core._store, core._services),
        )
    ]
    shown.append(str(query.to_pandas(meta=True).attrs))
    with pytest.raises(md.Rejected) as refused:
        client.collection("!nowhere:" + client.user_id.split(":", 1)[1])
    proxy.fault = lambda seen: CUT if "m.room.power_levels" in seen.path else None
    with pytest.raises(md.Unknown) as unanswered:
        collection.invite("@ben:example.org", role="owner")
    for error in (refused.value, unanswered.value):
        shown += [repr(error), "".join(traceback.format_exception(error)), seen_by_a_debugger(error)]
    shown.append(caplog.text)
    for secret in (token, account["password"]):
        assert not [text for text in shown if secret in text]


def test_a_password_that_is_refused_is_not_shown_again(server, caplog):
    caplog.set_level(logging.DEBUG)
    account = server.account(server.name())
    wrong = "correct horse battery staple"
    with pytest.raises(md.Rejected) as caught:
        md.connect(**{**account, "password": wrong})
    assert caught.value.errcode == "M_FORBIDDEN"
    assert wrong not in caplog.text + repr(caught.value) + seen_by_a_debugger(caught.value)
