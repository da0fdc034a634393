"""What `matrixdata doctor` looks at: this machine, and the profile that commands use. Writes and starts nothing."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from matrixdata import __version__, homeserver
from matrixdata.cli import server_checks
from matrixdata.cli.settings import LOCAL, is_local
from matrixdata.connect import paths
from matrixdata.errors import Unsupported
from matrixdata.replica.account import read_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matrixdata.model.session import Session

Level = Literal["ok", "warn", "fail"]

_EXTRAS = {
    "data": ("duckdb", "matplotlib", "pandas", "pyarrow"),
    "polars": ("polars", "pyarrow"),
    "notebook": ("ipykernel", "nest_asyncio", "tqdm"),
}
_OLDEST_SQLITE = (3, 37)
_LITTLE_DISK = 200_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of what was found.

    Attributes:
        what: what was looked at.
        level: "ok", "warn" (works, but not all of it or not for long) or "fail".
        found: how it is.
        advice: what to do; empty where nothing is.
    """

    what: str
    level: Level
    found: str
    advice: str = ""


def findings(profile: str | None) -> Iterator[Finding]:
    """Everything there is to find, in the order in which things depend on each other; each as soon as it is known.

    Args:
        profile: the profile that commands use; None for the embedded homeserver's own user.
    """
    yield from _versions()
    yield from _extras()
    yield _embedded()
    yield from _data_home(paths.data_home())
    name = f"{LOCAL}-me" if profile in {None, LOCAL} else str(profile)
    try:
        directory = paths.profile_directory(name)
    except ValueError as error:
        yield Finding("profile", "fail", str(error))
        return
    for kind in ("account", "replica"):
        finding = _database(directory / f"{kind}.db")
        if finding is not None:
            yield finding
    try:
        session = saved_session(directory / "account.db")
    except sqlite3.Error as error:
        yield Finding("profile", "fail", f"{name}: cannot be read: {error}")
        return
    yield _profile(name, session)
    yield from _server(name, session)


# -- this machine -------------------------------------------------------------------------------------------
def _versions() -> Iterator[Finding]:
    yield Finding(
        "matrixdata", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        advice = "use a Python with SQLite 3.37 or later"
        yield Finding("SQLite", "fail", f"{sqlite3.sqlite_version} is too old", advice)
    else:
        yield Finding("SQLite", "ok", sqlite3.sqlite_version)


def _extras() -> Iterator[Finding]:
    for extra, modules in _EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            advice = f"if you want it: pip install 'matrixdata[{extra}]'"
            yield Finding(f"extra {extra}", "warn", f"not installed: {', '.join(missing)}", advice)
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


def _embedded() -> Finding:
    what = "embedded homeserver"
    try:
        python = homeserver.find_python(paths.server_environment())
    except Unsupported as error:
        return Finding(what, "warn", str(error), "or `matrixdata server install`, or use another server")
    found = homeserver.status(paths.server_directory())
    state = f"runs at {found.url}" if found.running else "does not run; a command that needs it starts it"
    if found.running and not found.answering:
        advice = "`matrixdata server stop`, and then the command again"
        return Finding(what, "warn", f"runs at {found.url}, and does not answer", advice)
    return Finding(what, "ok", f"available ({python}); {state}")


def _data_home(home: Path) -> Iterator[Finding]:
    what = "data directory"
    if not home.exists():
        yield Finding(what, "ok", f"{home} is not there yet; it is made when it is needed")
        return
    if not home.is_dir() or not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        advice = "make it a directory of yours, or set MATRIXDATA_HOME to another"
        yield Finding(what, "fail", f"{home} cannot be written to", advice)
        return
    private = [path for path in (home / "server", *(home / "profiles").glob("*")) if path.is_dir()]
    open_to_others = [home] * bool(_mode(home) & 0o022) + [path for path in private if _mode(path) & 0o077]
    for path in open_to_others:
        found = f"others can get into {path} (mode {_mode(path):04o})"
        yield Finding(what, "warn", found, f"chmod go-rwx {shlex.quote(str(path))}")
    if not open_to_others:
        yield Finding(what, "ok", f"{home}: logins and data are yours alone")
    free = shutil.disk_usage(home).free
    if free < _LITTLE_DISK:
        yield Finding("disk", "warn", f"{free / 1e6:,.0f} MB are free", "free some space")


def _mode(path: Path) -> int:
    """The permission bits; none that matter where the system has no such thing."""
    return stat.S_IMODE(path.stat().st_mode) if os.name == "posix" else 0


# -- the profile --------------------------------------------------------------------------------------------
def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)


def _database(path: Path) -> Finding | None:
    """Whether a store's file is whole; None where there is none."""
    if not path.exists():
        return None
    what = f"store {path.name}"
    try:
        with closing(_reading(path)) as connection:
            ((said,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.Error as error:
        said = str(error)
    if said == "ok":
        return Finding(what, "ok", f"whole, {path.stat().st_size / 1e6:,.1f} MB")
    advice = (
        "the next command keeps it aside and saves what can be read of it, and says what is lost"
        if path.name == "account.db"
        else "the next command keeps it aside and rebuilds it from the server"
    )
    return Finding(what, "fail", f"{path} is damaged: {said}", advice)


def saved_session(path: Path) -> Session | None:
    """The session in an account's database, read without opening a store.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    if not path.exists():
        return None
    with closing(_reading(path)) as connection:
        return read_session(connection)


def _profile(name: str, session: Session | None) -> Finding:
    if session is not None and session.access_token is not None:
        return Finding("profile", "ok", f"{name}: {session.user_id} at {session.homeserver}")
    if is_local(name):
        return Finding("profile", "ok", f"{name}: a user of the embedded homeserver, made when it is needed")
    found = f"{name}: nobody is logged in" if session is None else f"{name}: {session.user_id} is logged out"
    url = session.homeserver if session is not None else "URL"
    return Finding("profile", "fail", found, f"`matrixdata login {url} --profile {name}`")


def _server(name: str, session: Session | None) -> Iterator[Finding]:
    url = session.homeserver if session is not None else None
    if is_local(name):
        found = homeserver.status(paths.server_directory())
        url = found.url if found.running else None  # its port may have changed since the session was saved
    if url:
        for what, level, text, advice in server_checks.ask(url, session):
            yield Finding(what, level, text, advice)
