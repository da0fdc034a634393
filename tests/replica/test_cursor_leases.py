"""A cursor has one owner, until that owner is gone, however it went."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import matrixdata as md
from matrixdata.replica.cursor_leases import CursorLeases

HOLD = """
import os, pathlib, sys
from matrixdata.replica.cursor_leases import CursorLeases
leases = CursorLeases(pathlib.Path(sys.argv[1]))
leases.claim("!room", "job")
if sys.argv[2] == "fork":
    reads, writes = os.pipe()
    if os.fork():
        os.read(reads, 1)
        print("held", flush=True)
    else:
        os.write(writes, b"x")
else:
    print("held", flush=True)
sys.stdin.read()  # until the test closes the pipe
"""


@pytest.fixture
def leases(tmp_path):
    leases = CursorLeases(tmp_path / "cursors")
    yield leases
    leases.release()


def holder(leases, how):
    command = [sys.executable, "-c", HOLD, str(leases._directory), how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("held")
    return process


def test_a_second_claim_is_refused_with_who_holds_it_and_what_to_do(leases):
    lease = leases.claim("!room", "job")
    with pytest.raises(md.CursorLocked, match=r"this process.*another cursor name") as caught:
        leases.claim("!room", "job")
    assert caught.value.pid == os.getpid()
    assert isinstance(caught.value, md.StoreLocked)
    leases.claim("!room", "another")
    leases.claim("!elsewhere", "job")
    leases.claim("!room", "../\0" * 300 + "\ud800")
    leases.drop(lease)
    leases.claim("!room", "job")


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_a_killed_owner_owns_nothing_even_if_a_fork_of_it_lives_on(leases, how):
    process = holder(leases, how)
    try:
        with pytest.raises(md.CursorLocked, match=f"process {process.pid}") as caught:
            leases.claim("!room", "job")
        assert caught.value.pid == process.pid
        process.kill()
        process.wait(10)
        leases.claim("!room", "job")
    finally:
        process.kill()
        process.communicate()  # closes the pipe, at which a fork ends


def test_the_files_are_the_owners_alone(leases):
    leases.claim("!room", "job")
    directory = leases._directory
    assert [path.stat().st_mode & 0o077 for path in (directory, *directory.iterdir())] == [0, 0]


def test_closing_the_store_frees_every_cursor(leases):
    leases.claim("!room", "a")
    leases.claim("!room", "b")
    leases.release()
    other = CursorLeases(leases._directory)
    other.claim("!room", "a")
    other.claim("!room", "b")
    other.release()
