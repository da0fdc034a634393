"""What we ship: the wheel holds the package whole, its schemas, its type marker and its licence."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.requirements import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    directory: Path = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [wheel] = directory.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_package_is_shipped_whole(shipped: set[str]) -> None:
    ours = {path for path in (ROOT / "matrixdata").rglob("*") if path.is_file() and path.suffix != ".pyc"}

    assert {path.relative_to(ROOT).as_posix() for path in ours} <= shipped
    assert "matrixdata/py.typed" in shipped


def test_the_schemas_are_shipped(shipped: set[str]) -> None:
    ours = {f"matrixdata/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "schemas").rglob("*.json")}

    assert ours
    assert ours <= shipped


def test_the_licence_is_shipped_and_nothing_else(shipped: set[str]) -> None:
    tops = {name.partition("/")[0] for name in shipped}

    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in shipped)
    assert all(top == "matrixdata" or top.endswith(".dist-info") for top in tops)
