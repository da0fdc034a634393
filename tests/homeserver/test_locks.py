from __future__ import annotations

import os
import subprocess
import sys
import time

from matrixdata.homeserver import locks
from tests.requirements import ROOT

HOLD = """
import sys, pathlib
from matrixdata.homeserver import locks
assert locks.try_lock(pathlib.Path(sys.argv[1])) is not None
print("held", flush=True)
sys.stdin.read()
"""


def soon():
    return time.monotonic() + 10


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "a.lock"
    assert not locks.is_held(path)
    first = locks.try_lock(path)
    assert first is not None
    assert locks.is_held(path)
    assert locks.try_lock(path) is None
    locks.release(first)
    assert not locks.is_held(path)


def test_asking_makes_no_file(tmp_path):
    assert not locks.is_held(tmp_path / "a.lock")
    assert list(tmp_path.iterdir()) == []


def test_not_had_in_time_is_told(tmp_path):
    path = tmp_path / "a.lock"
    with locks.holding(path, soon()) as first, locks.holding(path, time.monotonic()) as second:
        assert (first, second) == (True, False)
    assert not locks.is_held(path)


def test_a_killed_holder_frees_it(tmp_path):
    path = tmp_path / "a.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert locks.is_held(path)
        holder.kill()
        assert locks.wait_free(path, soon())


def test_a_forked_child_does_not_prolong_it(tmp_path):
    path = tmp_path / "a.lock"
    held = locks.try_lock(path)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)  # lives until the parent says so
        os._exit(0)
    locks.release(held)
    free = locks.wait_free(path, soon())
    os.close(writing)
    os.close(reading)
    os.waitpid(child, 0)
    assert free
