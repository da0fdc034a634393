"""JSON Lines: what was published comes back, bit for bit where it matters."""

from __future__ import annotations

import json
import math
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrixdata.frames.jsonl import to_jsonl
from matrixdata.protocol.strict import loads
from tests.frames.records import records, same, values
from tests.replica import filters


def lines(path: Path) -> list[bytes]:
    *found, rest = path.read_bytes().split(b"\n")
    assert rest == b""
    return found


def identical(a: Any, b: Any) -> bool:
    """Equal, of the same types, and zeros of the same sign."""
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(identical(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(identical, a, b))
    sign = not isinstance(a, float) or math.copysign(1, a) == math.copysign(1, b)
    return type(a) is type(b) and a == b and sign


@settings(deadline=None)
@given(rows=st.lists(records | values, max_size=5))
def test_a_strict_reader_gets_every_value_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    path = to_jsonl(rows, tmp_path_factory.mktemp("jsonl") / "x.jsonl")

    back = [loads(line) for line in lines(path)]
    assert len(back) == len(rows)
    assert all(map(identical, back, rows))


def test_20000_records_come_back(tmp_path: Path) -> None:
    path = to_jsonl(filters.records(), tmp_path / "x.jsonl")

    assert all(identical(json.loads(line), r) for line, r in zip(lines(path), filters.records(), strict=True))


def test_meta_stands_beside_the_value(tmp_path: Path) -> None:
    meta = {"sender": ["@a:hs"], "time": [datetime(2026, 1, 1, tzinfo=UTC)]}
    (line,) = lines(to_jsonl([{"sender": "mine"}], tmp_path / "x.jsonl", meta=meta))

    assert json.loads(line) == {
        "sender": "@a:hs", "time": "2026-01-01T00:00:00+00:00", "value": {"sender": "mine"},
    }  # fmt: skip
    with pytest.raises(ValueError, match="2 items for 1"):
        to_jsonl([1], tmp_path / "x.jsonl", meta={"a": [1, 2]})
    with pytest.raises(ValueError, match="own place"):
        to_jsonl([1], tmp_path / "x.jsonl", meta={"value": [1]})


def test_half_a_surrogate_pair_is_escaped(tmp_path: Path) -> None:
    (line,) = lines(to_jsonl([{"x": "é\ud800"}], tmp_path / "x.jsonl"))

    assert same(json.loads(line), {"x": "é\ud800"})


def test_it_appears_whole_or_not_at_all_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = to_jsonl([1], tmp_path / "x.jsonl")

    with pytest.raises(ValueError, match="not JSON compliant"):
        to_jsonl([2, math.nan], path)

    assert path.read_bytes() == b"1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["x.jsonl"]
