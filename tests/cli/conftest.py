"""One home with a running embedded homeserver for all tests of the command line; each uses names of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from matrixdata import homeserver
from matrixdata.cli import main
from tests.requirements import require


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[Any]:
        """stdout as JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]


@pytest.fixture
def run() -> Run:
    """Run a command line in this process."""

    def invoke(*arguments: str, given: str | bytes = "", **environment: str) -> Ran:
        result: Result = CliRunner().invoke(main, arguments, input=given, env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return Ran(result.exit_code, result.stdout, result.stderr)

    return invoke


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a line of bash in which `matrixdata` is this checkout's."""

    def bash(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            env={**os.environ, "PATH": path, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return bash


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home in which the embedded homeserver runs."""
    require("server")
    home = tmp_path_factory.mktemp("served-home")
    homeserver.start(home / "server")
    yield home
    homeserver.stop(home / "server")


@pytest.fixture
def home(served: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That one in place of the empty one that each test begins with."""
    monkeypatch.setenv("MATRIXDATA_HOME", str(served))
    return served
