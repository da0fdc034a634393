"""The JSON Schema Test Suite, draft 2020-12, through our wrapper with the network off."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from matrixdata.errors import SchemaError
from matrixdata.validation import compile_schema
from tests.requirements import SHARED_DATA, require
from tests.validation.engines import engines
from tests.validation.outside_profile import OUTSIDE

if TYPE_CHECKING:
    from pathlib import Path

CASES = SHARED_DATA / "JSON-Schema-Test-Suite" / "tests" / "draft2020-12"


def files() -> list[str]:
    # Cases under optional/format assert `format`, which the profile makes a note, as the draft's default is.
    names = (path.relative_to(CASES).as_posix() for path in CASES.rglob("*.json"))
    return sorted(name for name in names if not name.startswith("optional/format/")) or ["absent"]


@pytest.fixture(autouse=True)
def network_off(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("validation reached for the network")

    # A class, since the standard library derives from it.
    monkeypatch.setattr(socket, "socket", type("Refused", (socket.socket,), {"__init__": refuse}))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def cases(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", files())
def test_every_case_gets_the_suites_verdict_from_both_engines_or_is_refused_by_name(name):
    require("shared-data")
    refused, wrong = set(), []
    for case in cases(CASES / name):
        try:
            compiled = compile_schema(case["schema"])
        except SchemaError:
            refused.add(case["description"])
            continue
        for test in case["tests"]:
            wrong += [
                (case["description"], test["description"], engine)
                for engine, verdict in engines(compiled).items()
                if verdict(test["data"]) != test["valid"]
            ]
    assert not wrong
    assert refused == OUTSIDE.get(name, set())


def test_the_list_names_only_cases_that_exist():
    require("shared-data")
    for name, descriptions in OUTSIDE.items():
        assert descriptions <= {case["description"] for case in cases(CASES / name)}
