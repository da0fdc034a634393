"""The demo, as a newcomer runs it; and the data it reads."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow.parquet
import pytest

import matrixdata as md
from matrixdata.cli.demo.readings import from_csv, seattle
from matrixdata.errors import MatrixDataError


def demo(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "matrixdata.cli", "demo", *arguments],
        cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.server
def test_the_demo_shows_everything_and_leaves_the_data_where_it_is_found(tmp_path: Path) -> None:
    first = demo(tmp_path, "--rows", "30")
    second = demo(tmp_path, "--rows", "5", "--no-plot", "--output", "again")

    assert "subscriber │ all 30 arrived" in first
    assert "publisher │     /temp_f: must be a number, not text" in first
    assert "mean" in first
    assert (tmp_path / "matrixdata-demo/seattle-temperatures.png").read_bytes().startswith(b"\x89PNG")
    written = pyarrow.parquet.read_table(tmp_path / "matrixdata-demo/seattle-temperatures.parquet")
    assert written.num_rows == 30
    assert "holds 30 readings" in second
    assert pyarrow.parquet.read_table(tmp_path / "again/seattle-temperatures.parquet").num_rows == 35

    with md.connect("local") as client:
        values = client.collection("seattle-temperatures").query(order="time").values()
    assert values == seattle().stretch(0, 35)

    advice = first.partition("What to try next:")[2].strip().splitlines()
    assert 3 <= len(advice) <= 5
    for line in advice:
        tried = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
        )
        assert tried.returncode == 0, (line, tried.stderr)


@pytest.mark.server
def test_the_demo_with_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "My Garden.csv"
    file.write_text("when,bed,litres\n2026-05-01 06:00,north,1.5\n2026-05-01 18:00,,2\n")

    said = demo(tmp_path, "--csv", file.name)

    assert "taken as UTC" in said
    assert "all 2 arrived" in said
    with md.connect("local") as client:
        values = client.collection("my-garden").query(order="time").values()
    assert values == [
        {"ts": "2026-05-01T06:00:00Z", "bed": "north", "litres": 1.5},
        {"ts": "2026-05-01T18:00:00Z", "litres": 2.0},
    ]


def test_seattles_hours_follow_one_another_in_utc() -> None:
    readings = seattle()
    times = sorted(datetime.fromisoformat(str(record["ts"])) for record in readings.records)

    assert len(set(times)) == len(times) > 8_000
    assert readings.records[0]["ts"] == "2010-07-01T07:00:00Z"  # midnight of summer time
    assert times[0] == datetime(2010, 1, 1, tzinfo=ZoneInfo("America/Los_Angeles"))
    assert sum((b - a).total_seconds() != 3600 for a, b in pairwise(times)) <= 2


def csv(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "data.csv"
    file.write_text(text, encoding="utf-8-sig")
    return file


def test_a_csv_becomes_records_with_the_types_its_columns_show(tmp_path: Path) -> None:
    text = "id;code;at;n;x\n20260101;007;2026-01-01T00:00:00+01:00;-3;1e3\n20260102;008;2026-01-02;;nope\n"

    readings = from_csv(csv(tmp_path, text))

    assert readings.records[0] == {
        "ts": "2025-12-31T23:00:00Z", "id": 20260101, "code": "007", "n": -3, "x": "1e3",
    }  # fmt: skip
    assert "n" not in readings.records[1]
    assert md.validate(readings.records, readings.schema).ok
    assert not md.validate([readings.bad_record], readings.schema).ok


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no rows"),
        ("a,ts\n", "no rows"),
        ("a,b\n1,2\n", "no column of times"),
        ("ts,ts\n2026-01-01,1\n", "each column once"),
        ("ts,b\n2026-01-01\n", "line 2: 1 cells under 2 names"),
    ],
)
def test_a_csv_that_will_not_do_says_why(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(MatrixDataError, match=problem):
        from_csv(csv(tmp_path, text))
