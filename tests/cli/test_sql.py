"""`matrixdata sql`, and SQL in `query --where`, against a real homeserver."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.cli.conftest import Run

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("home")]

RECORDS = [
    {"device": "d1", "temp": 21.5, "note": "=1+1"},
    {"device": "d1", "temp": 18.5, "note": "two words"},
    {"device": "d2", "temp": 25.0, "note": "\x1b[31m"},
]
_number = itertools.count(1)


@pytest.fixture
def name(run: Run) -> str:
    """A new collection with some readings."""
    name = f"sql_{next(_number)}"
    run("create", name, "--no-encrypt")
    done = run("publish", name, "-", given="".join(json.dumps(record) + "\n" for record in RECORDS))
    assert done.code == 0, done.err
    return name


def test_a_select_gives_rows(run: Run, name: str) -> None:
    done = run("sql", f"SELECT device, avg(temp) AS mean FROM {name} GROUP BY device ORDER BY device")

    assert (done.code, done.err) == (0, "")
    assert done.rows == [{"device": "d1", "mean": 20.0}, {"device": "d2", "mean": 25.0}]


def test_a_select_is_a_table_for_a_person(shell, name: str) -> None:
    done = shell(
        f"script -qec \"matrixdata sql 'SELECT note, temp FROM {name} ORDER BY temp DESC'\" /dev/null </dev/null"
    )

    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["temp", "25.0", "21.5", "18.5"]
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("command", ["sql", "query"])
def test_files(run: Run, name: str, tmp_path: Path, command: str) -> None:
    files = {end: tmp_path / f"out.{end}" for end in ("jsonl", "csv", "parquet")}
    asked = ("sql", f"SELECT device, temp, note FROM {name}") if command == "sql" else ("query", name)

    for file in files.values():
        done = run(*asked, "-o", str(file))
        assert (done.code, done.out) == (0, ""), done.err

    def by_temp(rows: list[dict[str, object]]) -> list[dict[str, object]]:
        return sorted(rows, key=lambda row: float(str(row["temp"])))

    lines = [json.loads(line) for line in files["jsonl"].read_text().splitlines()]
    assert by_temp(lines) == by_temp(RECORDS)
    assert by_temp(pyarrow.parquet.read_table(files["parquet"]).to_pylist()) == by_temp(RECORDS)
    with files["csv"].open(newline="", encoding="utf-8") as file:
        cells = by_temp(list(csv.DictReader(file)))
    assert [row["note"] for row in cells] == ["two words", "'=1+1", "\x1b[31m"]


def test_an_empty_result_has_its_columns_all_the_same(run: Run, shell, name: str, tmp_path: Path) -> None:
    nothing = f"SELECT device, avg(temp) AS mean FROM {name} WHERE temp > 100 GROUP BY device"
    file, lines = tmp_path / "out.csv", tmp_path / "out.jsonl"

    done = run("sql", nothing)
    assert (done.code, done.out, done.err) == (0, "", "no rows; columns: device, mean\n")
    shown = shell(f"script -qec \"matrixdata sql '{nothing}'\" /dev/null </dev/null").stdout.splitlines()
    assert [line.split() for line in shown] == [["device", "mean"], ["no", "rows"]]
    run("sql", nothing, "-o", str(file))
    assert file.read_text().splitlines() == ["device,mean"]
    run("sql", nothing, "-o", str(lines))
    assert lines.read_text() == ""


def test_names_that_sql_makes_up_stay_as_they_are(run: Run, name: str, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"

    run("sql", f'SELECT count(*), max(temp) AS "a.b" FROM {name}', "-o", str(file))

    assert file.read_text().splitlines() == ["count_star(),a.b", "3,25.0"]


@pytest.mark.parametrize(
    ("select", "code", "said"),
    [
        ("DROP TABLE {name}", 2, "write one SELECT"),
        ("SELEC 1", 2, "SELEC"),
        ("SELECT nowhere FROM {name}", 1, "nowhere"),
        ("SELECT * FROM {name}x", 1, "did you mean '{name}'?"),
        ("SELECT * FROM read_csv('/etc/passwd')", 2, ""),
    ],
)
def test_a_select_that_cannot_be_run_says_why(run: Run, name: str, select: str, code: int, said: str) -> None:
    done = run("sql", select.format(name=name))

    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("error: ")
    assert said.format(name=name) in done.err


def test_the_missing_extra_is_named(run: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)

    for done in (run("sql", "SELECT 1"), run("query", name, "--where", "temp > 20 AND device = 'd1'")):
        assert (done.code, done.out) == (1, "")
        assert "matrixdata[data]" in done.err
    assert run("query", name, "--where", "temp > 20", "--count").rows == [2]


@pytest.mark.parametrize(
    ("terms", "count"),
    [
        (["temp > 20"], 2),
        (["temp > 20 AND device = 'd1'"], 1),
        (["device = 'd1'"], 2),
        (['note="two words"'], 1),
        (["temp BETWEEN 18 AND 22", "device LIKE 'd%' -- all"], 2),
        (["temp * 2 > 40"], 2),
    ],
)
def test_a_filter_may_be_sql(run: Run, name: str, terms: list[str], count: int) -> None:
    options = [word for term in terms for word in ("--where", term)]

    assert run("query", name, *options, "--count").rows == [count]


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (["note=two words"], 'note="two words"'),
        (["temp > 20", "temp < 30 AND true"], "joined with AND"),
        (["temp > 20; DROP TABLE x"], ""),
    ],
)
def test_a_filter_that_is_no_sql_either_is_wrong_usage(
    run: Run, name: str, terms: list[str], said: str
) -> None:
    done = run("query", name, *[word for term in terms for word in ("--where", term)])

    assert (done.code, done.out) == (2, "")
    assert said in done.err
