"""Synapse as an operating-system process: launching it, knowing that it lives, ending it.

Alive means: somebody holds the lock that only the running Synapse holds. Pid and record files are mere
notes and prove nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from matrixdata.errors import StoreLocked
from matrixdata.homeserver import locks

if TYPE_CHECKING:
    from collections.abc import Mapping

ALIVE = "alive.lock"
START_LOG = "start.log"
_PID = "pid"
_PROGRAM = Path(__file__).with_name("launch_program.py")
_AFTER_KILL = 5.0

_lifelines: dict[Path, int] = {}
"""Write ends of pipes, by directory: a guard ends its server when the last copy closes, as at our death."""


def launch(python: Path, directory: Path, config: Path, *, alive: int, owned: bool) -> None:
    """Start Synapse and return at once; it is ready later, or dies and frees the lock.

    Args:
        python: the interpreter that has Synapse.
        directory: its working directory.
        config: its configuration file.
        alive: descriptor of the held `ALIVE` lock; passed on, and closed here.
        owned: end it when this process ends.

    Raises:
        OSError: `python` cannot be run.
    """
    # -P: modules lying about in the working directory are not for it.
    command = [str(python), "-P", "-m", "synapse.app.homeserver", "-c", str(config)]
    lifeline = _new_lifeline(directory) if owned else os.open(os.devnull, os.O_RDONLY)
    (directory / _PID).unlink(missing_ok=True)  # the new one is not yet known, and the old one is another's
    log = os.open(directory / START_LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    mode = "guarded" if owned else "detached"
    try:
        # -I -S: the launching program needs only the standard library, and so takes about 15 ms.
        subprocess.run(  # noqa: S603  our own program, no shell
            [str(python), "-I", "-S", str(_PROGRAM), mode, str(directory / _PID), str(alive), *command],
            cwd=directory,
            env=_environment(os.environ, own=str(python) == sys.executable),
            pass_fds=(alive,),
            stdin=lifeline,
            stdout=log,
            stderr=log,
            umask=0o077,
            check=False,  # if it failed, the lock is free again and its log says why
        )
    finally:
        os.close(lifeline)
        os.close(log)
        locks.release(alive)


def is_alive(directory: Path) -> bool:
    """True while the Synapse of this directory runs, whoever started it."""
    return locks.is_held(directory / ALIVE)


def pid_of(directory: Path) -> int:
    """Its process id; 0 if unknown. Means nothing unless `is_alive`."""
    try:
        return int((directory / _PID).read_text())
    except (OSError, ValueError):
        return 0


def end(directory: Path, *, timeout: float) -> bool:
    """Ask the server to end, and kill it after `timeout` seconds. True if it ran, False if it did not.

    Raises:
        StoreLocked: it cannot be ended from here.
    """
    if not is_alive(directory):
        _drop_lifeline(directory)
        return False
    _signal(directory, signal.SIGTERM)
    if not locks.wait_free(directory / ALIVE, time.monotonic() + timeout):
        _signal(directory, signal.SIGKILL)
        if not locks.wait_free(directory / ALIVE, time.monotonic() + _AFTER_KILL):
            raise StoreLocked(
                str(directory),
                pid=pid_of(directory),
                advice="It is a homeserver that cannot be ended from here: end it where it was started.",
            )
    _drop_lifeline(directory)
    return True


def _signal(directory: Path, number: signal.Signals) -> None:
    pid = pid_of(directory)
    if not pid:
        return
    try:
        if sys.platform == "linux":
            # Grasp the process first and ask what it is after: a pid that was reused in between is spared.
            process = os.pidfd_open(pid)
            try:
                if is_alive(directory) and _runs_on(directory, pid):
                    signal.pidfd_send_signal(process, number)
            finally:
                os.close(process)
        elif is_alive(directory):
            os.kill(pid, number)
    except ProcessLookupError:
        pass


def _runs_on(directory: Path, pid: int) -> bool:
    # Processes of another container hold the same locks, and their pids mean something else here.
    try:
        return os.fsencode(directory) in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _new_lifeline(directory: Path) -> int:
    _drop_lifeline(directory)
    reading, writing = os.pipe()
    _lifelines[directory] = writing
    return reading


def _drop_lifeline(directory: Path) -> None:
    writing = _lifelines.pop(directory, None)
    if writing is not None:
        os.close(writing)


def _drop_all_lifelines() -> None:
    for directory in list(_lifelines):
        _drop_lifeline(directory)


def _environment(ours: Mapping[str, str], *, own: bool) -> dict[str, str]:
    """Our environment without what would make Synapse ask a proxy, or change how it runs."""
    kept = {
        name: value
        for name, value in ours.items()
        if not name.lower().endswith("_proxy") and not name.startswith("SYNAPSE_")
    }
    if not own:  # the paths of this interpreter are not those of the managed environment
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            kept.pop(name, None)
    return kept


if hasattr(os, "register_at_fork"):
    # A forked child would otherwise keep its parent's servers alive.
    os.register_at_fork(after_in_child=_drop_all_lifelines)
