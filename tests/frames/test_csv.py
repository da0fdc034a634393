"""CSV files: inert in a spreadsheet, readable everywhere, nothing rounded."""

from __future__ import annotations

import csv
import stat
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrixdata.frames import to_pandas
from matrixdata.frames.csv import to_csv
from tests.faults.harness import Break, fault
from tests.frames.records import records

HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",  # noqa: RUF001  the full-width form starts a formula too
    '=HYPERLINK("http://x")',
]
SCHEMA = {"properties": {"ts": {"type": "string", "format": "date-time"}, "temp": {"type": "number"}}}


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


@fault("T-B2", broken=Break("matrixdata/frames/csv.py", '"\'" + text if _FORMULA', "text if _FORMULA"))
def test_what_a_spreadsheet_would_run_gets_an_apostrophe_and_numbers_none(tmp_path: Path) -> None:
    rows = [
        {"text": text, "=key": 1, "n": -5, "f": -0.5, "list": [text], "in": {"@x": text}} for text in HOSTILE
    ]

    header, *found = table(to_csv(rows, tmp_path / "x.csv"))

    assert header == ["text", "'=key", "n", "f", "list", "in.@x"]
    for text, row in zip(HOSTILE, found, strict=True):
        assert row[0] == row[5] == "'" + text
        assert row[1:4] == ["1", "-5", "-0.5"]
        assert row[4].startswith("[")


def test_mixed_columns_are_guarded_cell_by_cell(tmp_path: Path) -> None:
    rows: list[Any] = [{"x": "=1"}, {"x": -1}, {"x": True}, {"x": {}}, {"x": None}, {"x": "-1"}]

    assert [row[0] if row else "" for row in table(to_csv(rows, tmp_path / "x.csv"))] == [
        "x", "'=1", "-1", "true", "{}", "", "'-1",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "\x1b[31mred", "plain", "a=b", "1-2"])
def test_other_text_is_as_it_was(tmp_path: Path, text: str) -> None:
    assert table(to_csv([{"x": text}], tmp_path / "x.csv")) == [["x"], [text]]


def test_unsafe_is_exact(tmp_path: Path) -> None:
    rows = [{"=x": text} for text in HOSTILE]

    assert table(to_csv(rows, tmp_path / "x.csv", safe=False)) == [["=x"], *([text] for text in HOSTILE)]


@settings(deadline=None)
@given(rows=st.lists(records, min_size=1, max_size=4), safe=st.booleans())
def test_any_reader_finds_the_columns_and_rows_of_a_frame(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], safe: bool
) -> None:
    frame = to_pandas(rows)
    path = to_csv(rows, tmp_path_factory.mktemp("csv") / "x.csv", safe=safe)
    found = table(path)

    if not len(frame.columns):
        assert path.read_bytes() == b"\r\n" * (len(rows) + 1)
        return
    assert [name.removeprefix("'") if safe else name for name in found[0]] == [
        name.removeprefix("'") if safe else name for name in frame.columns
    ]
    assert [len(row) or 1 for row in found[1:]] == [len(frame.columns)] * len(rows)
    if safe:
        assert not any(cell[:1] in "=@+\t\r\n" for row in found for cell in row if cell)


def test_every_digit_is_there_and_missing_differs_from_empty(tmp_path: Path) -> None:
    rows = [
        {"ts": "2026-01-01T02:00:00.5+02:00", "temp": 0.1 + 0.2, "u": 2**64 - 1, "i": 2**53 + 1, "s": ""},
        {"temp": 5e-324, "i": 1, "s": None},
    ]
    path = to_csv(rows, tmp_path / "x.csv", schema=SCHEMA, meta={"sender": ["@a:hs", None]})

    assert path.read_text(encoding="utf-8").splitlines() == [
        "ts,temp,u,i,s,sender",
        '2026-01-01T00:00:00.5Z,0.30000000000000004,18446744073709551615,9007199254740993,"",\'@a:hs',
        ",5e-324,,1,,",
    ]
    assert path.read_bytes().count(b"\r\n") == 3
    assert pd.read_csv(path, dtype={"u": "UInt64"})["u"].tolist()[0] == 2**64 - 1
    assert pl.read_csv(path)["s"].to_list() == ["", None]
    assert duckdb.read_csv(str(path)).select("i, temp").fetchall() == [(2**53 + 1, 0.1 + 0.2), (1, 5e-324)]


def test_half_a_surrogate_pair_does_not_break_the_file(tmp_path: Path) -> None:
    assert to_csv([{"x": "a\ud800"}], tmp_path / "x.csv").read_text(encoding="utf-8") == "x\na\\ud800\n"


def test_it_appears_whole_or_not_at_all_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = to_csv([{"a": 1}], tmp_path / "x.csv")
    path.chmod(0o644)

    with pytest.raises(ValueError, match="twice"):
        to_csv([{"a": 2}], path, columns=["a", "a"])
    with pytest.raises(FileNotFoundError):
        to_csv([{"a": 2}], tmp_path / "nowhere" / "x.csv")
    assert table(path) == [["a"], ["1"]]

    to_csv([{"a": 2}], path)
    assert table(path) == [["a"], ["2"]]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["x.csv"]
