"""Where Synapse is: beside our own packages, or in a managed environment of its own; and making the latter.

Synapse is only looked for and run as a process, never imported.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from matrixdata.errors import MatrixDataError, MissingExtra, Unsupported
from matrixdata.homeserver.files import read_json, write_private_json
from matrixdata.homeserver.locks import holding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec

    FindSpec = Callable[[str], ModuleSpec | None]
    Report = Callable[[str], None]

REQUIREMENT = "matrix-synapse>=1.150"
FEATURE = "the embedded homeserver"
ADVICE = (
    "Synapse offers no package for this platform; run any Matrix homeserver elsewhere (a container, another "
    "machine, WSL) and use md.connect(url, user=…, password=…)"
)
_MARK = "matrixdata-installed.json"
"""Written last, so that an installation that was cut short does not count as one."""


def find_python(
    environment: Path | None = None,
    *,
    find_spec: FindSpec = importlib.util.find_spec,
    platform: str = sys.platform,
) -> Path:
    """The Python interpreter that can run Synapse: this one, else the managed environment's.

    Args:
        environment: directory of the managed environment, see `install`.
        find_spec: how packages are looked for here; for tests.
        platform: as `sys.platform`; for tests.

    Raises:
        MissingExtra: Synapse is in neither.
        Unsupported: it cannot be had on this platform; the message says what to do instead.
    """
    if platform == "win32":
        raise Unsupported(FEATURE, ADVICE)
    if sys.executable and _is_synapse(find_spec("synapse")):
        return Path(sys.executable)
    if environment is not None and _installed(environment):
        return _python_of(environment)
    missing = MissingExtra(FEATURE, "server")
    missing.add_note(
        "Or keep it apart from your own packages, in an environment of its own: matrixdata server install"
    )
    raise missing


def available(
    environment: Path | None = None,
    *,
    find_spec: FindSpec = importlib.util.find_spec,
    platform: str = sys.platform,
) -> str | None:
    """None if the embedded homeserver can be started here, else the reason and what to do about it."""
    try:
        find_python(environment, find_spec=find_spec, platform=platform)
    except Unsupported as error:
        return " ".join([f"{error}.", *getattr(error, "__notes__", ())])
    return None


def install(
    environment: Path,
    *,
    report: Report | None = None,
    upgrade: bool = False,
    timeout: float = 600,
) -> Path:
    """Put Synapse into a virtual environment of its own, with uv if it is there, else venv and pip.

    Does nothing when it is installed already. Takes about 20 s and 240 MB; packages come from the index
    that pip or uv is configured for.

    Args:
        environment: the directory to make; a damaged or half-made environment in it is replaced.
        report: called with one line of progress at a time.
        upgrade: install the newest release even if one is there.
        timeout: seconds to wait for another process that is installing into the same place.

    Returns:
        The interpreter that runs it.

    Raises:
        Unsupported: no package for this platform, or the installation failed; the last lines say why.
    """
    if sys.platform == "win32":
        raise Unsupported(FEATURE, ADVICE)
    tell = report or _silent
    environment.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with holding(environment.with_name(f"{environment.name}.lock"), time.monotonic() + timeout) as alone:
        if not alone:
            raise MatrixDataError(f"another process is still installing into {environment}; try again later")
        if _installed(environment) and not upgrade:
            tell(f"Synapse is installed in {environment}")
            return _python_of(environment)
        (environment / _MARK).unlink(missing_ok=True)
        tell(f"installing Synapse into {environment}")
        for command in install_commands(environment, uv=shutil.which("uv")):
            _run(command, tell)
        if not _installed_files(environment):
            raise Unsupported(FEATURE, f"the installer ended well and yet Synapse is not in {environment}")
        write_private_json(environment / _MARK, {"requirement": REQUIREMENT})
        tell("Synapse is installed")
    return _python_of(environment)


def install_commands(environment: Path, *, uv: str | None) -> list[list[str]]:
    """The commands that `install` runs, one after the other. `uv` is the path of that tool, if present."""
    # Wheels only: built from source it would need a Rust compiler, and fail late and unreadably.
    wanted = ["--upgrade", "--only-binary", "matrix-synapse", REQUIREMENT]
    python = str(_python_of(environment))
    if uv:
        return [
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)],
            [uv, "pip", "install", "--compile-bytecode", "--python", python, *wanted],
        ]
    return [
        [sys.executable, "-m", "venv", "--clear", str(environment)],
        [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *wanted],
    ]


def _is_synapse(spec: ModuleSpec | None) -> bool:
    # Another project on PyPI has a package of the same name, so look inside; without importing it.
    places = (spec.submodule_search_locations or []) if spec else []
    return any(Path(place, "app", "homeserver.py").is_file() for place in places)


def _python_of(environment: Path) -> Path:
    return environment / "bin" / "python"


def _installed(environment: Path) -> bool:
    return read_json(environment / _MARK) is not None and _installed_files(environment)


def _installed_files(environment: Path) -> bool:
    # The interpreter is a link: it dangles once the Python it was made with is removed.
    return _python_of(environment).exists() and any(
        environment.glob("lib/python*/site-packages/synapse/app/homeserver.py")
    )


def _silent(_: str) -> None:
    pass


def _run(command: Sequence[str], report: Report) -> None:
    """Run one command, passing its lines on; raise Unsupported with the last of them if it fails."""
    lines: list[str] = []
    with subprocess.Popen(  # noqa: S603  our own fixed commands, no shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            lines.append(line.rstrip())
            report(lines[-1])
    if process.returncode:
        said = "\n".join(f"  {line}" for line in lines[-6:])
        raise Unsupported(FEATURE, f"installing Synapse failed:\n{said}\nIf no package matched: {ADVICE}")
