"""The documentation holds: its code runs, its links lead somewhere, and nothing public goes unmentioned."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

import matrixdata
import matrixdata.cli
from tests.house.blocks import commands, find
from tests.requirements import ROOT

GUIDES = sorted([*ROOT.glob("README.md"), *(ROOT / "docs").rglob("*.md")])
PAGES = sorted({*GUIDES, *ROOT.glob("*.md"), *(ROOT / "notebooks").rglob("*.md")})


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_code(text: str) -> str:
    return re.sub(r"^\s*(`{3,}|~{3,}).*?^\s*\1\s*$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


# --- code --------------------------------------------------------------------------------------------


def guide(path: Path) -> object:
    marks = [pytest.mark.server] if any(it.needs_server for it in find(path.read_text()) if it.runs) else []
    return pytest.param(path, id=name(path), marks=marks)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", [guide(path) for path in GUIDES])
def test_the_code_of_a_guide_runs(path: Path, tmp_path: Path, matrixdata_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.house.blocks", path],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MATRIXDATA_HOME": str(matrixdata_home),
            "MPLBACKEND": "agg",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stdout, pytrace=False)


def test_a_guide_is_read_as_its_reader_reads_it() -> None:
    text = """
1. In a list:
   ```python
   x = 1
   ```
<!-- not run: needs a broker -->

```python
y = 2
```
<!-- fails: exit 2 -->
```console
$ printf a \\
    b
a
$ false
```
```json
{}
```
"""
    listed, not_run, failing, other = find(text)

    assert (listed.code, listed.line, listed.runs) == ("x = 1\n", 4, True)
    assert (not_run.not_run, not_run.runs) == ("needs a broker", False)
    assert (failing.exit_code, commands(failing.code)) == (2, ["printf a \\\n    b", "false"])
    assert not other.runs


# --- links -------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    headings = re.findall(
        r"^#+\s+(.+?)\s*$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    dead = []
    for link in re.findall(r"\]\(<?([^)\s>]+)>?[^)]*\)", without_code(path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = unquote(link).partition("#")
        target = path.parent / file if file else path
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())
        ):
            dead.append(link)

    assert not dead


# --- nothing public goes unmentioned -----------------------------------------------------------------


def undocumented(patterns: dict[str, str]) -> set[str]:
    guides = "\n".join(path.read_text() for path in GUIDES)
    return {public for public, pattern in patterns.items() if not re.search(pattern, guides)}


def test_every_public_name_is_documented() -> None:
    assert not undocumented({public: rf"\b{public}\b" for public in getattr(matrixdata, "__all__", ())})


def test_every_command_is_documented() -> None:
    main = getattr(matrixdata.cli, "main", None)
    names = main.commands if isinstance(main, click.Group) else ()

    assert not undocumented({command: rf"\bmatrixdata {re.escape(command)}\b" for command in names})
