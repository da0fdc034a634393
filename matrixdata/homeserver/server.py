"""Start, find and stop the homeserver of a directory. Blocking; knows nothing of clients or profiles."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from matrixdata.errors import Conflict, MatrixDataError, StoreLocked
from matrixdata.homeserver import identity as identities
from matrixdata.homeserver import locks, loopback, process, record, settings
from matrixdata.homeserver.environment import find_python
from matrixdata.homeserver.files import last_lines, make_private, write_private_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matrixdata.homeserver.identity import Identity
    from matrixdata.homeserver.record import RunRecord
    from matrixdata.homeserver.settings import Limits
    from matrixdata.model.json import JSON

_CONFIG = "homeserver.yaml"
_STARTING = "start.lock"
_PAUSE = 0.02
_ATTEMPTS = 5
_PROBE = 0.2
"""Seconds to wait for a lock that another process may hold only while it looks; and for any answer."""
_PATIENCE = 2.0
"""Seconds after which a server that does not answer a simple question is busy or hangs."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A homeserver that answers.

    Attributes:
        url: base URL for the client-server API, `http://127.0.0.1:<port>`; the port may change at a restart.
        name: its server name, the part of user ids after the colon; never changes.
        directory: where its database, media, secrets and log are.
        pid: its process id.
        new: this very call of `start` launched it; False if it ran already. Not compared.
    """

    url: str
    name: str
    directory: Path
    pid: int
    new: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What is known of the homeserver of a directory.

    Attributes:
        running: its process lives.
        answering: it answers requests; False while it starts or hangs.
        directory: the directory asked about.
        name: its server name; "" if none was ever started there.
        url, pid, version, limits, owned, started: of the running process, else "", 0, None or False.
            `version` is Synapse's, and "" unless it answers; `started` is aware, UTC; `owned` means that
            it ends with the process that started it.
    """

    running: bool
    answering: bool
    directory: Path
    name: str = ""
    url: str = ""
    pid: int = 0
    version: str = ""
    limits: str = ""
    owned: bool = False
    started: datetime | None = None


def start(
    directory: Path,
    *,
    limits: Limits = "wide",
    owned: bool = False,
    timeout: float = 30,
    extra_config: Mapping[str, JSON] | None = None,
    environment: Path | None = None,
) -> ServerAddress:
    """The homeserver of `directory`: the one that runs already, else a new one on the same data.

    Any number of threads and processes may ask at once; they get one server. A server that was killed
    comes back with its users and rooms.

    Args:
        directory: where it lives; made if missing, readable by its owner only.
        limits: "wide" lifts all rate limits; "stock" keeps those of Synapse.
        owned: end it when this process ends, however that happens. Otherwise it stays until `stop`.
            Does not change a server that runs already.
        timeout: seconds until it must answer.
        extra_config: top-level Synapse settings that replace ours; `listeners` are added.
        environment: directory of a managed environment to use if Synapse is not installed here.

    Raises:
        MissingExtra: Synapse is not installed.
        Unsupported: it cannot be had on this platform.
        Conflict: one with other limits or extra settings runs there, or the directory holds other things.
        StoreLocked: one runs there and does not answer in time.
        StoreCorrupt: the file with its name and secrets is damaged.
        MatrixDataError: it did not start; the message ends with the last lines of its log.
    """
    deadline = time.monotonic() + timeout
    directory = Path(directory).resolve()
    wanted = _Wanted(limits, owned, dict(extra_config or {}))
    if (found := _answering(directory, deadline)) is not None:  # needs no lock, so it takes milliseconds
        return _checked(directory, found, wanted)
    make_private(directory)
    with locks.holding(directory / _STARTING, deadline) as alone:
        if not alone:
            raise MatrixDataError(
                f"another process has been starting or stopping the homeserver in {directory} "
                f"for {timeout:g} s; see `matrixdata server status`"
            )
        alive = locks.take(directory / process.ALIVE, time.monotonic() + _PROBE)
        if alive is None:
            return _checked(directory, _wait_for_other(directory, deadline), wanted)
        try:
            python = find_python(environment)
            identity = identities.load_or_create(directory)
        except BaseException:
            locks.release(alive)
            raise
        return _start_new(python, directory, identity, wanted, alive=alive, deadline=deadline)


def stop(directory: Path, *, timeout: float = 10) -> bool:
    """End the homeserver of `directory`, by force after `timeout` seconds. Its data stays.

    Returns:
        True if one ran and is gone now; False if none ran.

    Raises:
        StoreLocked: one runs and cannot be ended from here, as when it belongs to another container.
    """
    directory = Path(directory).resolve()
    if not directory.is_dir():
        return False
    # Not in the middle of another's start; but one who hangs in starting must not prevent the end.
    with locks.holding(directory / _STARTING, time.monotonic() + timeout):
        return process.end(directory, timeout=timeout)


def status(directory: Path) -> ServerStatus:
    """What is known of the homeserver of `directory`. Starts and changes nothing."""
    directory = Path(directory).resolve()
    identity = identities.load(directory)
    name = identity.name if identity else ""
    run = record.read(directory)
    if run is None or not process.is_alive(directory):
        return ServerStatus(running=False, answering=False, directory=directory, name=name)
    answering = loopback.answers_as(run.port, run.nonce, timeout=_PATIENCE)
    return ServerStatus(
        running=True,
        answering=answering,
        directory=directory,
        name=name,
        url=_url(run.port),
        pid=process.pid_of(directory),
        version=_version(run.port) if answering else "",
        limits=run.limits,
        owned=run.owned,
        started=run.started,
    )


@dataclass(frozen=True, slots=True)
class _Wanted:
    limits: Limits
    owned: bool
    extra: dict[str, JSON]


def _answering(directory: Path, deadline: float) -> RunRecord | None:
    """The record of the server that lives and answers as ours; whoever else has that port is not asked."""
    run = record.read(directory)
    if run is None or not process.is_alive(directory):
        return None
    return run if _answers(run, deadline) else None


def _answers(run: RunRecord, deadline: float) -> bool:
    patience = min(_PATIENCE, max(_PROBE, deadline - time.monotonic()))
    return loopback.answers_as(run.port, run.nonce, timeout=patience)


def _wait_for_other(directory: Path, deadline: float) -> RunRecord:
    while process.is_alive(directory):
        if (found := _answering(directory, deadline)) is not None:
            return found
        if time.monotonic() >= deadline:
            raise StoreLocked(
                str(directory),
                pid=process.pid_of(directory),
                advice="It is a homeserver that does not answer; end it with `matrixdata server stop`.",
            )
        time.sleep(_PAUSE)
    raise MatrixDataError(f"the homeserver in {directory} ended while we waited for it; start it again")


def _checked(directory: Path, run: RunRecord, wanted: _Wanted) -> ServerAddress:
    if (run.limits, run.extra) != (wanted.limits, record.digest(wanted.extra)):
        raise Conflict(
            f"a homeserver with other settings (limits={run.limits!r}) runs in {directory}; stop it first, "
            "or give another directory"
        )
    identity = identities.load_or_create(directory)
    return ServerAddress(_url(run.port), identity.name, directory, process.pid_of(directory))


def _start_new(
    python: Path, directory: Path, identity: Identity, wanted: _Wanted, *, alive: int, deadline: float
) -> ServerAddress:
    last = record.read(directory)
    port = loopback.free_port(last.port if last else None)
    for _ in range(_ATTEMPTS):
        run = _configure(directory, identity, wanted, port)
        try:
            process.launch(python, directory, directory / _CONFIG, alive=alive, owned=wanted.owned)
        except OSError as error:
            raise MatrixDataError(f"{python} could not be run for the homeserver: {error}") from error
        if _wait_ready(directory, run, deadline):
            return replace(_checked(directory, run, wanted), new=True)
        # It ended by itself. If somebody took the port between our look and its bind, try another.
        again = locks.take(directory / process.ALIVE, time.monotonic() + _PROBE)
        if again is None or loopback.is_free(port):
            if again is not None:
                locks.release(again)
            break
        alive, port = again, loopback.free_port()
    raise MatrixDataError(_why(directory, "the homeserver ended while it started"))


def _configure(directory: Path, identity: Identity, wanted: _Wanted, port: int) -> RunRecord:
    run = record.RunRecord(
        port=port,
        nonce=secrets.token_hex(16),
        limits=wanted.limits,
        extra=record.digest(wanted.extra),
        owned=wanted.owned,
        started=datetime.now(UTC),
    )
    config = settings.homeserver_config(
        identity, directory, port=port, nonce=run.nonce, limits=wanted.limits, extra=wanted.extra
    )
    write_private_json(directory / settings.LOG_CONFIG, settings.log_config(directory))
    write_private_json(directory / _CONFIG, config)
    record.write(directory, run)
    return run


def _wait_ready(directory: Path, run: RunRecord, deadline: float) -> bool:
    """True once it answers, False if it ended. Too late: ended by us, and raised."""
    while process.is_alive(directory):
        if _answers(run, deadline):
            return True
        if time.monotonic() >= deadline:
            process.end(directory, timeout=1)
            raise MatrixDataError(_why(directory, "the homeserver did not answer in time and was ended"))
        time.sleep(_PAUSE)
    return False


def _why(directory: Path, what: str) -> str:
    logs = (directory / process.START_LOG, directory / settings.LOG)
    lines = [line for log in logs for line in last_lines(log)]
    said = "\n".join(f"  {line}" for line in lines) or "  (its log is empty)"
    return f"{what}; the end of {logs[0]} and {logs[1]}:\n{said}"


def _version(port: int) -> str:
    try:
        _, content = loopback.request(port, "GET", "/_synapse/admin/v1/server_version", timeout=2)
    except OSError:
        return ""
    # Synapse appends the git branch of whatever repository it happens to be installed inside.
    return str(content.get("server_version", "")).partition(" ")[0]


def _url(port: int) -> str:
    return f"http://{loopback.HOST}:{port}"
