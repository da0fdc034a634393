"""Interrupting a kernel ends each blocking call within a second, and leaves everything usable."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from matrixdata import homeserver
from tests.faults.harness import Break, fault
from tests.servers import wait_until

pytestmark = [pytest.mark.server, pytest.mark.alone]

# Says "inside" once the main thread waits in a blocking call of the library.
WATCH = """
import sys, threading, time
import matrixdata as md

def watch():
    main = threading.main_thread().ident
    while True:
        frame = sys._current_frames()[main]
        while frame is not None:
            if frame.f_code.co_name == "run" and frame.f_code.co_filename.endswith("portal.py"):
                print("inside", flush=True)
                return
            frame = frame.f_back
        time.sleep(0.005)

def from_now_on():
    threading.Thread(target=watch, daemon=True).start()
"""

CALLS = {
    "connect": "md.connect(**{**account, 'store': account['store'] + '-second'})",
    "publish": "collection.publish({'n': 1}, timeout=60)",
    "publish, synced": "collection.publish({'n': 2}, wait='synced', timeout=60)",
    "publish_many": "collection.publish_many([{'n': 3}, {'n': 4}], timeout=60)",
    "entering subscribe": "fresh.subscribe().__enter__()",
    "waiting for a record": "subscription.get()",
    "iterating over records": "next(subscription)",
    "query": "collection.query(timeout=60).to_pandas()",
    "sync": "collection.sync()",
}
# What each of them asks of the server, which is not answered; a waiting subscription asks nothing.
ASKS = {
    "connect": "/login",
    "publish": "/send/",
    "publish, synced": "/send/",
    "publish_many": "/send/",
    "entering subscribe": "/sync",
    "query": "/messages",
    "sync": "/messages",
}


class Silence:
    """Lets requests wait for an answer until it is over."""

    def __init__(self, part: str | None) -> None:
        self.part = part
        self.asked = threading.Event()
        self.over = threading.Event()

    def has_begun(self):
        assert self.part is None or self.asked.wait(20), f"{self.part} was not asked for"

    def __call__(self, seen):
        if self.part is not None and self.part in seen.path:
            self.asked.set()
            self.over.wait(60)


@pytest.fixture(scope="module")
def session(server_address, shared_kernel, tmp_path_factory):
    """A client and a collection in the kernel, behind a network that the test rules."""
    from tests.servers import TestServer

    server = TestServer(server_address, tmp_path_factory.mktemp("stores"))
    proxy = server.proxy()
    account = server.account(server.name("notebook"), url=proxy.url)
    account["store"] = str(account["store"])
    shared_kernel.run(WATCH)
    shared_kernel.run(
        f"account = {account!r}\n"
        "client = md.connect(**account)\n"
        "collection = client.create_collection('readings', encrypted=False)\n"
        "fresh = client.create_collection('fresh', encrypted=False)\n"
        "collection.publish({'n': 0}, wait='synced')\n"
        "subscription = client.create_collection('quiet', encrypted=False).subscribe()\n"
        "subscription.__enter__()"
    )
    yield proxy, shared_kernel
    proxy.fault = lambda _: None
    shared_kernel.run("client.close()")
    proxy.close()


@fault(
    "F38",
    broken=Break(
        "matrixdata/connect/portal.py",
        "            call.join(self._is_running)\n        except",
        "            __import__('signal').pthread_sigmask(0, {2}), call.join(self._is_running)\n        except",
    ),
)
@pytest.mark.parametrize("call", CALLS)
def test_an_interrupt_comes_through_within_a_second_and_the_next_cell_works(session, call):
    proxy, kernel = session
    silence = Silence(ASKS.get(call))
    proxy.fault = silence
    try:
        ran, seconds = kernel.interrupt(
            f"from_now_on()\n{CALLS[call]}", when="inside", and_then=silence.has_begun
        )
    finally:
        silence.over.set()
        proxy.fault = lambda _: None
    assert ran.error == "KeyboardInterrupt", ran.traceback
    assert seconds < 1
    assert kernel.run("client.status().user_id").text
    assert kernel.run("collection.query({'n': 0}).count()").text == "1"


def test_nothing_accepted_was_lost_and_nothing_came_twice(session):
    _, kernel = session
    ran = kernel.run(
        "collection.publish({'n': 5}, wait='synced')\n"
        "print(sorted(value['n'] for value in collection.query().values()))\n"
        "print(len(client.outbox.list()), len(client.collections()))"
    )
    assert ran.text.split("\n")[:2] == ["[0, 1, 2, 3, 4, 5]", "0 3"]


def test_starting_the_embedded_server_is_interrupted_as_soon_and_the_next_attempt_finds_it(shared_kernel):
    kernel = shared_kernel
    kernel.run(WATCH)
    directory = Path(
        kernel.run(
            "from matrixdata.connect.paths import server_directory\nprint(server_directory())"
        ).text.strip()
    )
    # Caught, since a notebook may take a second of its own to draw a traceback.
    call = "from_now_on()\ntry:\n    md.connect('local')\nexcept KeyboardInterrupt:\n    print('interrupted')"
    try:
        ran, seconds = kernel.interrupt(
            call, when="inside", and_then=lambda: wait_until((directory / "pid").exists)
        )
        assert "interrupted" in ran.well.text
        assert seconds < 1
        counted = kernel.run(
            "with md.connect('local') as local:\n"
            "    x = local.create_collection('x', encrypted=False)\n"
            "    x.publish({'n': 1}, wait='synced')\n"
            "    print(x.query().count())"
        )
        assert counted.text.splitlines()[-1] == "1"
    finally:
        homeserver.stop(directory)
