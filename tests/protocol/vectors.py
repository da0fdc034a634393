"""The test vectors that we publish, as pytest parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.requirements import ROOT

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

SCHEMAS = ROOT / "schemas"


def cases(name: str) -> list[Any]:
    """The cases of one file of vectors."""
    return list(json.loads((SCHEMAS / "vectors" / f"{name}.json").read_text(encoding="utf-8"))["vectors"])


def vectors(name: str) -> list[ParameterSet]:
    """The same, each a parameter that bears its name."""
    return [pytest.param(case, id=case["name"]) for case in cases(name)]
