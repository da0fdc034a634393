"""Find the code blocks of a Markdown file, and run those that a reader would run, in order.

`python -m tests.house.blocks FILE` runs them in this process and directory; it stops at the first failure.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

FENCE = re.compile(r"^(?P<indent>\s*)(?P<ticks>`{3,}|~{3,})(?P<language>\w*)")
NOTE = re.compile(r"^\s*<!--\s*(?P<kind>not run|fails):\s*(?P<text>.*?)\s*-->\s*$")
RUN = {"python", "console"}


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block. `line` is that of its first line of code, from 1."""

    language: str
    line: int
    code: str
    not_run: str = ""
    exit_code: int = 0

    @property
    def runs(self) -> bool:
        """Whether a reader would run it, and so do we."""
        return self.language in RUN and not self.not_run

    @property
    def needs_server(self) -> bool:
        """Whether it starts or uses the embedded homeserver."""
        if self.language == "console":
            return any(re.search(r"\bmatrixdata\b", command) for command in commands(self.code))
        return 'connect("local"' in self.code or "LocalServer" in self.code


def find(text: str) -> list[Block]:
    """Every fenced block of a Markdown text. A note stands alone, as the last text before its block."""
    blocks: list[Block] = []
    note = None
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        fence = FENCE.match(line)
        if not fence:
            note = NOTE.match(line) if line.strip() else note
            continue
        code = []
        for _, inner in lines:
            if inner.strip() == fence["ticks"]:
                break
            code.append(inner.removeprefix(fence["indent"]))
        kind, said = (note["kind"], note["text"]) if note else ("", "")
        blocks.append(
            Block(
                fence["language"],
                number + 1,
                "\n".join(code) + "\n",
                not_run=said if kind == "not run" else "",
                exit_code=int(said.removeprefix("exit ")) if kind == "fails" else 0,
            )
        )
        note = None
    return blocks


def commands(console: str) -> list[str]:
    """The commands of a console block: what follows `$ `, with lines continued by a backslash."""
    joined = console.replace("\\\n", "\\\n\0").split("\n")
    found: list[str] = []
    for line in joined:
        if line.startswith("\0") and found:
            found[-1] += "\n" + line.removeprefix("\0").removeprefix("> ")
        elif line.startswith("$ "):
            found.append(line.removeprefix("$ "))
    return found


def _run_python(block: Block, path: str, namespace: dict[str, Any]) -> None:
    # Blank lines before it make line numbers in a traceback those of the Markdown file.
    source = "\n" * (block.line - 1) + block.code
    code = compile(source, path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, namespace)
    if inspect.iscoroutine(result):

        async def finish() -> None:
            await result

        anyio.run(finish)


def _run_console(block: Block, path: str) -> None:
    *before, last = commands(block.code)
    for command, expected in [*((one, 0) for one in before), (last, block.exit_code)]:
        print(f"$ {command}", flush=True)
        code = subprocess.run(["bash", "-o", "pipefail", "-c", command], check=False).returncode
        if code != expected:
            sys.exit(f"{path}, block at line {block.line}: `{command}` exited with {code}, not {expected}")


def run(path: str) -> None:
    """Run every block of a file in order; its Python blocks share one namespace."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in find(Path(path).read_text()):
        if block.runs and block.language == "python":
            _run_python(block, path, namespace)
        elif block.runs:
            _run_console(block, path)


if __name__ == "__main__":
    run(sys.argv[1])
