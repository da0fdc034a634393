"""The words for why a record is not sent are a closed set, and the guide explains each."""

from __future__ import annotations

from typing import get_args

from matrixdata.model.delivery import MEANING, Reason
from tests.requirements import ROOT


def test_every_reason_has_a_meaning_and_a_row_in_the_guide():
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    assert set(MEANING) == set(get_args(Reason))
    assert [reason for reason in MEANING if f"| `{reason}` |" not in guide] == []
