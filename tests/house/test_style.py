"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import tokenize
from pathlib import Path

import pytest

from tests.requirements import ROOT

PACKAGE = sorted((ROOT / "matrixdata").rglob("*.py"))
ALL = sorted(path for top in ("matrixdata", "tests", "benchmarks") for path in (ROOT / top).rglob("*.py"))

MOST_LINES = 400
LONGER: dict[str, str] = {}  # path: why it is better in one piece

MOST_DOCSTRING_LINES = 5
LONGER_DOCSTRING = {
    "matrixdata/errors.py": "draws the whole tree of errors",
    "matrixdata/model/expression.py": "defines what a filter means, for every engine that answers one",
}

VAGUE = {"manager", "helper", "helpers", "util", "utils", "common", "misc"}

# What silences a tool, in the form that names what is silenced.
SILENCER = re.compile(r"#\s*(?:noqa|type:\s*ignore|pragma|ruff:|mypy:|pyright:)", re.IGNORECASE)
NAMED = re.compile(
    r"#\s*(?:noqa:\s*[A-Z]+\d+(?:[,\s]+[A-Z]+\d+)*|type:\s*ignore\[[\w,\s-]+\]|pragma:\s*no (?:cover|branch)"
    r"|ruff:\s*noqa:\s*[A-Z]+\d+|mypy:\s*[\w-]+|pyright:\s*ignore\[\w+\])"
)
REASON = re.compile(r"[A-Za-z]{4,}")  # one word at the least


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_a_module_is_small_says_what_it_is_for_and_has_a_telling_name(path: Path) -> None:
    text = path.read_text()
    docstring = ast.get_docstring(ast.parse(text)) or ""
    lines = [line for line in docstring.splitlines() if line]
    names = {part.lower() for part in re.split(r"[/_.]", name(path))}
    classes = {
        word.lower()
        for found in re.findall(r"^\s*class (\w+)", text, re.MULTILINE)
        for word in re.findall(r"[A-Z]+[a-z]*", found)
    }

    assert len(text.splitlines()) <= MOST_LINES or name(path) in LONGER, "split it, or say why not in LONGER"
    assert docstring, "its docstring should say what it is for, and what it must not do"
    assert len(lines) <= MOST_DOCSTRING_LINES or name(path) in LONGER_DOCSTRING
    assert not VAGUE & (names | classes)


def test_whatever_silences_a_tool_names_it_and_says_why() -> None:
    bare = []
    for path in ALL:
        with tokenize.open(path) as file:
            comments = [it for it in tokenize.generate_tokens(file.readline) if it.type == tokenize.COMMENT]
        for comment in comments:
            if SILENCER.search(comment.string):
                named = NAMED.search(comment.string)
                if not named or not REASON.search(comment.string.replace(named[0], " ")):
                    bare.append(f"{name(path)}:{comment.start[0]}: {comment.string}")

    assert not bare, "\n".join(["say which rule, and the reason in the same line:", *bare])


@pytest.mark.parametrize(
    ("comment", "fine"),
    [
        ("# noqa: PLC0415  pandas loads when first needed", True),
        ("# type: ignore[arg-type]  # the stub omits it", True),
        ("# noqa: PLC0415", False),
        ("# noqa  because I say so", False),
        ("# type: ignore", False),
    ],
)
def test_the_rule_about_reasons_itself(comment: str, fine: bool) -> None:
    named = NAMED.search(comment)

    assert SILENCER.search(comment)
    assert bool(named and REASON.search(comment.replace(named[0], " "))) is fine
