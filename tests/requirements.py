"""What some tests need from the machine: absent, they skip by name; with MATRIXDATA_REQUIRE=all they fail."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
EVERYTHING_REQUIRED = os.environ.get("MATRIXDATA_REQUIRE") == "all"


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _node() -> bool:
    node = shutil.which("node")
    if node is None:
        return False
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return version.startswith("v") and int(version[1:].split(".")[0]) >= 18


def _js_sdk() -> bool:
    return _node() and (ROOT / "tests/interop/node/node_modules/matrix-js-sdk").is_dir()


def _chromium() -> bool:
    return any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))


def _small_disk() -> bool:
    """Whether a disk of a chosen size can be had: as root, with the right to mount."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as place:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True, check=False)
        if mounted.returncode == 0:
            subprocess.run(["umount", place], check=True)
        return mounted.returncode == 0


# name: (is it here?, how to get it)
_NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "server": (lambda: _installed("synapse"), "the real Synapse: pip install 'matrixdata[server]'"),
    "kernel": (lambda: _installed("ipykernel"), "a Jupyter kernel: pip install 'matrixdata[notebook]'"),
    "node": (_node, "Node.js 18 or newer on PATH: apt install nodejs"),
    "js-sdk": (_js_sdk, "matrix-js-sdk: npm ci in tests/interop/node"),
    "nio": (lambda: _installed("nio"), "matrix-nio: pip install 'matrix-nio[e2e]'"),
    "chromium": (_chromium, "Chromium on PATH: apt install chromium"),
    "root": (lambda: os.geteuid() == 0, "to run as root (network namespaces, full disks): use a container"),
    "small-disk": (_small_disk, "to mount a small tmpfs: as root, in a container that may"),
    "shared-data": (SHARED_DATA.is_dir, "public test suites in ../shared/data: see CONTRIBUTING.md"),
}
MARKERS = ("server", "node")


def require(name: str) -> None:
    """Go on only where `name` is available; else skip, or fail when everything is required."""
    is_here, how = _NEEDS[name]
    if is_here():
        return
    if EVERYTHING_REQUIRED:
        pytest.fail(f"needs {how}", pytrace=False)
    pytest.skip(f"needs {how}", allow_module_level=True)
