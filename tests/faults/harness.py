"""What fault tests share: which row of the fault catalogue they prove, processes that die at a step, a ledger.

    @fault("F1", broken=Break("matrixdata/publishing/drain.py", "item.txn_id", "secrets.token_hex(8)"))
    def test_a_lost_answer_leads_to_one_event(...): ...

A `Break` is a small edit of the source under which the test must fail: `python -m tests.faults.broken F1` applies
it to a copy of the project and runs the test there, so that each test is known to notice what it is for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers import records_in, uids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from matrixdata import Client
    from tests.servers import RawUser

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Break:
    """An edit that takes a protection away: `old`, which stands once in `file`, becomes `new`."""

    file: str
    old: str
    new: str

    def applied(self, source: str) -> str:
        assert source.count(self.old) == 1, (
            f"{self.file}: {self.old!r} stands there {source.count(self.old)} times"
        )
        return source.replace(self.old, self.new)


@dataclass(frozen=True)
class Fault:
    """What a fault test says of itself."""

    rows: tuple[str, ...]
    breaks: tuple[Break, ...]


def fault(*rows: str, broken: Break | tuple[Break, ...]) -> Callable[[Any], Any]:
    """Mark a test as proof of these rows of the catalogue ("F1", "B7", "D" …)."""
    breaks = broken if isinstance(broken, tuple) else (broken,)
    assert breaks, "a test that cannot fail proves nothing: give it a Break"

    def mark(test: Any) -> Any:
        return pytest.mark.fault(Fault(rows, breaks))(test)

    return mark


# --- processes that die at a step --------------------------------------------------------------------

_PRELUDE = """
import os, signal, sys
from matrixdata.model import steps
assert sys.argv[1] in (*steps.STEPS, "never"), sys.argv[1]
def _listen(step, fatal=sys.argv[1], left=[int(sys.argv[2])]):
    if step == fatal:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
steps.listener = _listen
del sys.argv[1:3]
"""


def child(
    program: str,
    *arguments: str,
    kill_at: str = "never",
    nth: int = 1,
    env: dict[str, str] | None = None,
    stderr: int | None = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """A process that runs `program` (its sys.argv[1:] are `arguments`), killed when it reaches a step the n-th time.

    `stderr=None` leaves what it writes there to pytest, which shows it when the test fails.
    """
    command = [sys.executable, "-c", _PRELUDE + program, kill_at, str(nth), *arguments]
    pipe = subprocess.PIPE
    world = {**os.environ, **(env or {})}
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=stderr, text=True, env=world)


def run(
    program: str, *arguments: str, timeout: float = 60, **options: Any
) -> subprocess.CompletedProcess[str]:
    """`child`, and wait for its end."""
    process = child(program, *arguments, **options)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"still running after {timeout} s\n{out}\n{err}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def was_killed(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode == -signal.SIGKILL


# --- what was promised -------------------------------------------------------------------------------


@dataclass
class Ledger:
    """What the library acknowledged; `check` holds the server and fresh readers to it.

    Attributes:
        accepted: uids that publish returned a receipt for: each must be on the server exactly once, in time.
        offered: uids handed to publish that may or may not have been accepted (a kill came in between): at most once.
    """

    accepted: set[str] = field(default_factory=set)
    offered: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def accept(self, *found: str) -> None:
        with self._lock:
            self.accepted.update(found)

    def offer(self, *found: str) -> None:
        with self._lock:
            self.offered.update(found)

    def check_server(self, raw: RawUser, room_id: str) -> None:
        """By the independent checker: nothing accepted is lost, no record is there under two event ids."""
        here = uids(raw.records(room_id))
        assert self.accepted - set(here) == set(), "accepted, and not on the server"
        doubled = {uid for uid in here if here.count(uid) > 1}
        assert doubled == set(), "on the server more than once"
        assert set(here) - self.accepted - self.offered == set(), "on the server, and never offered"

    def check_reader(self, client: Client, room_id: str) -> None:
        """A reader counts each accepted record once and misses none, however often it is on the server."""
        query = client.collection(room_id).query(timeout=30, on_incomplete="raise")
        rows = [record.uid for record in query.records()]
        assert len(rows) == len(set(rows)), "counted twice"
        assert self.accepted - set(rows) == set(), "accepted, and not in the reader's result"


def sent_by(events: Iterable[dict[str, Any]], user_id: str) -> list[dict[str, Any]]:
    """The records among raw events that a user sent."""
    return [record for event in events if event["sender"] == user_id for record in records_in(event)]
