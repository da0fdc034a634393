"""A program of its own, run by file name before the homeserver: turns into it, or guards it.

Never imported and imports nothing but the standard library. Arguments: `detached` or `guarded`, the file
for the pid, the descriptor of the lock that marks the server as alive, then the command to run.
Guarded: ends the command when standard input ends, which is when the owner died, however it died.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

_GRACE = 3.0
"""Seconds between asking and killing."""


def _become(command: list[str], pid_file: str) -> None:
    # Written by the very process that turns into the server: no moment at which it runs and nobody knows.
    temporary = f"{pid_file}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, str(os.getpid()).encode())
    os.close(descriptor)
    os.rename(temporary, pid_file)  # noqa: PTH104  pathlib would add a tenth to the time this program takes
    os.execv(command[0], command)  # noqa: S606  no shell is wanted


def _end_with_owner(pid: int) -> None:
    while os.read(0, 1024):
        pass
    for number in (signal.SIGTERM, signal.SIGKILL):
        # Not reaped before this process ends, so the pid cannot have become another's.
        os.kill(pid, number)
        time.sleep(_GRACE)


def _guard(command: list[str], pid_file: str, lock: int) -> None:
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _become(command, pid_file)
    os.close(lock)
    threading.Thread(target=_end_with_owner, args=(pid,), daemon=True).start()
    os.waitpid(pid, 0)


def main() -> None:
    """Leave the caller's session and process tree, then do as the arguments say."""
    mode, pid_file, lock, *command = sys.argv[1:]
    if os.fork():
        os._exit(0)
    # A session of its own: Ctrl-C in the caller's terminal is not meant for the server.
    os.setsid()
    if mode == "guarded":
        _guard(command, pid_file, int(lock))
    else:
        _become(command, pid_file)


if __name__ == "__main__":
    main()
