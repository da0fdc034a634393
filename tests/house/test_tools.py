"""Lint, types and layers, so that `make test` holds what `make check` prints in full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirements import ROOT


@pytest.mark.timeout(600)  # the first mypy run of a fresh clone reads every stub
@pytest.mark.parametrize(
    "command",
    ["ruff check --output-format=concise", "ruff format --check", "mypy", "lint-imports --no-logo"],
    ids=lambda it: it.split(" -")[0],
)
def test_it_is_clean(command: str) -> None:
    tool, *arguments = command.split()
    done = subprocess.run(
        [Path(sys.executable).parent / tool, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{command}\n{done.stdout}", pytrace=False)
