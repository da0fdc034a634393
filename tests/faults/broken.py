"""Does every fault test notice what it is for? `python -m tests.faults.broken [F4 …]` breaks the code and looks.

For each Break of each chosen test the project is copied, the edit applied to the copy, and the test run there: it
must fail. Prints a row for each, and ends with 1 if a test passed on broken code.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.harness import ROOT

if TYPE_CHECKING:
    from tests.faults.harness import Break, Fault

_COPIED = ("matrixdata", "tests", "schemas", "docs", "benchmarks", "pyproject.toml", "README.md")
_TIMEOUT = 180


def collected() -> dict[str, Fault]:
    """Every fault test, as path::name."""
    found: dict[str, Fault] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if "@fault(" in path.read_text(encoding="utf-8"):
            relative = path.relative_to(ROOT)
            module = importlib.import_module(".".join(relative.with_suffix("").parts))
            for name, test in vars(module).items():
                for mark in getattr(test, "pytestmark", ()):
                    if mark.name == "fault":
                        found[f"{relative}::{name}"] = mark.args[0]
    return found


def copied(target: Path) -> Path:
    """A copy of the project beside the same shared data."""
    place = target / "checkout"
    place.mkdir()
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, place / name)
    shared = ROOT.parent / "shared"
    if shared.exists():
        (target / "shared").symlink_to(shared.resolve())
    return place


def notices(test: str, edit: Break) -> tuple[bool, str]:
    """Whether a test fails on code broken so, and how."""
    with tempfile.TemporaryDirectory() as directory:
        place = copied(Path(directory))
        file = place / edit.file
        file.write_text(edit.applied(file.read_text(encoding="utf-8")), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", test]
        world = {**os.environ, "PYTHONPATH": str(place)}
        try:
            done = subprocess.run(
                command, cwd=place, env=world, capture_output=True, text=True, timeout=_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            return True, "hangs"
        last = done.stdout.strip().splitlines()[-1:] or [done.stderr.strip()[-200:]]
        if done.returncode == 1:
            found = [line for line in done.stdout.splitlines() if line.startswith("E  ")]
            return True, (found or last)[0][:100]
        return False, last[0]


def main(rows: list[str]) -> int:
    """Check the tests of these rows of the catalogue, or all."""
    missed = 0
    for test, found in sorted(collected().items(), key=lambda pair: pair[1].rows):
        if rows and not set(rows) & set(found.rows) and not any(row in test for row in rows):
            continue
        for edit in found.breaks:
            start = time.monotonic()
            good, how = notices(test, edit)
            missed += not good
            verdict = "fails, as it must" if good else "STILL PASSES"
            print(
                f"{','.join(found.rows):8} {test}  {edit.file}: {verdict} in {time.monotonic() - start:.0f} s ({how})"
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
