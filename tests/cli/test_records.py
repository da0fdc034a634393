"""create, publish, subscribe and query against a real homeserver."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.cli.conftest import Run

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("home")]

SCHEMA = {
    "type": "object",
    "properties": {"ts": {"type": "string"}, "temp": {"type": "number"}, "at": {"type": "object"}},
    "required": ["ts"],
}
_number = itertools.count(1)


def reading(hour: int, temp: object) -> dict[str, object]:
    return {"ts": f"2026-01-01T{hour:02}:00:00Z", "temp": temp}


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def name(run: Run, tmp_path: Path) -> str:
    """A new collection of readings."""
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    name = f"readings-{next(_number)}"
    done = run("create", name, "--schema", str(schema), "--time", "ts", "--no-encrypt")
    assert done.code == 0, done.err
    assert done.rows[0]["name"] == name
    return name


def test_the_first_collection_on_a_server_of_ones_own_is_made_by_publishing(run: Run) -> None:
    mine = ("--profile", f"local-first{next(_number)}")

    done = run("publish", "greenhouse", "-", *mine, given=lines(reading(1, 21.5), reading(2, 19.0)))

    assert done.code == 0, done.err
    assert "made the collection 'greenhouse'" in done.err
    (warm,) = run("query", "greenhouse", "--where", "temp > 20", *mine).rows
    assert warm == reading(1, 21.5)
    misspelt = run("publish", "grenhouse", "-", *mine, given=lines(reading(3, 20.0)))
    assert (misspelt.code, "no collection is named" in misspelt.err) == (1, True)


def test_one_record_there_and_back(run: Run, name: str) -> None:
    record = {"ts": "2026-01-01T00:00:00Z", "temp": 21.0, "at": {"text": "ü\u202e\x7f", "n": 2**63}}

    (sent,) = run("publish", name, json.dumps(record)).rows
    (found,) = run("query", name, "--meta").rows

    assert sent["state"] == "sent"
    assert (found["event_id"], found["uid"]) == (sent["event_id"], sent["uid"])
    assert found["value"] == record
    assert type(found["value"]["temp"]) is float
    assert found["time"] == "2026-01-01T00:00:00Z"


def test_the_same_uid_counts_once(run: Run, name: str) -> None:
    for _ in range(2):
        assert run("publish", name, json.dumps(reading(1, 1.5)), "--uid", "one").code == 0

    assert run("query", name, "--count").rows == [1]


def test_a_stream_goes_on_after_a_bad_line_and_says_where_it_was(run: Run, name: str) -> None:
    given = lines(reading(0, 1.5), reading(1, "warm")) + '{"ts": \n\n' + lines(reading(2, 2.5))

    done = run("publish", name, "-", given=given)

    assert done.code == 1
    assert [(row["line"], row["state"]) for row in done.rows] == [(1, "sent"), (5, "sent")]
    assert "error: line 2: /temp: must be a number" in done.err
    assert "error: line 3: " in done.err
    assert "2 accepted, 2 sent, 2 refused here" in done.err
    assert run("query", name, "--count").rows == [2]


def test_a_stream_stops_at_the_first_bad_line_if_told_so(run: Run, name: str) -> None:
    given = lines(reading(0, 1.5), reading(1, "warm"), reading(2, 2.5))

    done = run("publish", name, "-", "--on-error", "stop", given=given)

    assert (done.code, len(done.rows)) == (1, 1)
    assert run("query", name, "--count").rows == [1]


@pytest.mark.parametrize("wait", ["queued", "sent", "synced"])
def test_waiting_for_each_milestone(run: Run, name: str, wait: str) -> None:
    done = run(
        "publish",
        name,
        "-",
        "--wait",
        wait,
        "--timeout",
        "30",
        given=lines(*[reading(h, h) for h in range(5)]),
    )

    assert done.code == 0
    reached = {"queued": {"queued", "sent", "synced"}, "sent": {"sent", "synced"}, "synced": {"synced"}}
    assert {row["state"] for row in done.rows} <= reached[wait]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_files(run: Run, name: str, tmp_path: Path, suffix: str) -> None:
    records = [reading(hour, float(hour)) for hour in range(3)]
    file = tmp_path / f"readings{suffix}"
    file.write_text(json.dumps(records) if suffix == ".json" else lines(*records))

    done = run("publish", name, str(file))

    assert (done.code, len(done.rows)) == (0, 3)
    assert run("query", name, "--order", "time").rows == records


def test_a_file_that_is_not_there_fails_in_one_line(run: Run, name: str) -> None:
    done = run("publish", name, "nowhere.jsonl")

    assert done.code == 1
    assert done.err == "error: No such file or directory: nowhere.jsonl\n"


def test_queries(run: Run, name: str, tmp_path: Path) -> None:
    run("publish", name, "-", given=lines(*[reading(hour, float(hour)) for hour in range(6)]))
    jsonl, parquet = tmp_path / "out.jsonl", tmp_path / "out.parquet"

    assert [row["temp"] for row in run("query", name, "--where", "temp>3", "--order", "-temp").rows] == [
        5.0,
        4.0,
    ]
    assert run("query", name, "--where", '{"temp": {"<": 1}}', "--columns", "temp").rows == [{"temp": 0.0}]
    assert run("query", name, "--where", "temp>1", "--where", "temp<4", "--count").rows == [2]
    assert len(run("query", name, "--since", "2026-01-01T04:00:00Z").rows) == 2
    assert len(run("query", name, "--limit", "1").rows) == 1
    assert run("query", name, "-o", str(jsonl), "--order", "time").code == 0
    assert run("query", name, "-o", str(parquet)).code == 0
    assert [json.loads(line) for line in jsonl.read_text().splitlines()][5] == reading(5, 5.0)
    assert pyarrow.parquet.read_table(parquet).num_rows == 6


@pytest.mark.parametrize(
    "wrong",
    [("--where", "temp >"), ("--since", "soon"), ("--where", '{"temp": {"~": 1}}'), ("--columns", "")],
)
def test_a_query_that_means_nothing_is_wrong_usage(run: Run, name: str, wrong: tuple[str, str]) -> None:
    done = run("query", name, *wrong)

    assert (done.code, done.out) == (2, "")


def test_a_subscription_prints_what_comes_and_remembers_how_far_it_got(run: Run, name: str) -> None:
    run("publish", name, "-", given=lines(*[reading(hour, float(hour)) for hour in range(4)]))
    wanted = ("subscribe", name, "--start", "all", "--cursor", "job", "--count", "2")

    first, second = run(*wanted), run(*wanted)
    third = run(*wanted, "--timeout", "0.5")

    assert sorted(row["temp"] for row in first.rows + second.rows) == [0.0, 1.0, 2.0, 3.0]
    assert (third.code, third.rows) == (1, [])
    assert "0 of 2 records came" in third.err


def test_a_subscription_tells_of_the_stream_too_where_asked(run: Run, name: str) -> None:
    run("publish", name, "-", given=lines(*[reading(hour, float(hour)) for hour in range(4)]))
    wanted = ("subscribe", name, "--start", "all", "--events")

    every = run(*wanted, "--timeout", "1.5", "--overflow", "error", "--buffer", "2")
    two = run(*wanted, "--count", "2")

    assert [row["item"] for row in every.rows] == ["Record"] * 4 + ["CaughtUp"]
    assert sorted(row["value"]["temp"] for row in every.rows[:4]) == [0.0, 1.0, 2.0, 3.0]
    assert every.rows[0]["sender"].startswith("@")
    assert [row["item"] for row in two.rows] == ["Record"] * 2
    assert (every.code, two.code) == (0, 0)
    assert run("subscribe", name, "--overflow", "panic").code == 2


def test_what_does_not_work_or_exists_already_says_what_to_pass(run: Run, name: str) -> None:
    public, again = run("create", "open", "--public"), run("create", name, "--no-encrypt")

    assert (public.code, again.code) == (2, 1)
    assert "--no-encrypt" in public.err
    assert "--exist-ok" in again.err
    assert run("create", name, "--no-encrypt", "--exist-ok").code == 0


def test_an_unknown_collection_is_a_failure_that_names_those_there_are(run: Run, name: str) -> None:
    done = run("query", name + "x")

    assert done.code == 1
    assert f"did you mean '{name}'?" in done.err


# --- as processes ------------------------------------------------------------------------------------


def test_the_reader_of_a_pipe_may_leave(shell, name: str) -> None:
    # More than a pipe holds, so that a write fails while there is still something to print.
    shell(f"for i in $(seq 30); do echo '{{\"ts\": \"2026-01-01T00:00:00Z\", \"pad\": \"{'x' * 4000}\"}}'; done "
          f"| matrixdata publish {name} -")  # fmt: skip
    done = shell(f"matrixdata query {name} | head -1")

    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_a_stream_with_a_linger_leaves_in_few_events(run: Run, name: str) -> None:
    given = lines(*[reading(hour, float(hour)) for hour in range(20)]) + "{}\n"
    done = run("publish", name, "-", "--linger", "60", given=given)
    assert done.code == 1
    assert "line 21" in done.err
    assert "20 accepted, 20 sent, 1 refused here" in done.err
    found = run("query", name, "--meta").rows
    assert len(found) == 20
    assert len({row["event_id"] for row in found}) == 1


def test_publishing_goes_on_though_nobody_reads_the_outcome(shell, run: Run, name: str) -> None:
    given = "; ".join(f"echo '{json.dumps(reading(hour, hour))}'" for hour in range(20))

    done = shell(f"({given}) | matrixdata publish {name} - | head -1")

    assert done.returncode == 0, done.stderr
    assert run("query", name, "--count").rows == [20]


def test_ctrl_c_ends_a_subscription_without_a_traceback(name: str) -> None:
    command = [sys.executable, "-m", "matrixdata.cli", "subscribe", name]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"listening to {name}\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)

    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


def test_a_person_gets_a_table(name: str, run: Run, shell) -> None:
    run("publish", name, "-", given=lines(reading(0, 1.5), reading(1, 12.25)))

    done = shell(f'COLUMNS=60 script -qec "matrixdata query {name} --order time" /dev/null </dev/null')

    assert [line.split() for line in done.stdout.splitlines()] == [
        ["ts", "temp"],
        ["2026-01-01T00:00:00Z", "1.5"],
        ["2026-01-01T01:00:00Z", "12.25"],
    ]


def test_an_import_with_a_job_goes_on_where_it_stopped(run: Run, name: str) -> None:
    good = [reading(hour, hour / 2) for hour in range(4)]
    text = [*(json.dumps(record) for record in good[:2]), '{"ts": ', json.dumps(reading(3, "warm"))]

    first = run("publish", name, "-", "--job", "archive", given="\n".join(text))
    text[2:] = [json.dumps(record) for record in good[2:]]
    second = run("publish", name, "-", "--job", "archive", given="\n".join(text))
    other = run("publish", name, "-", "--job", "archive", given=lines(reading(9, 1.5)))

    assert first.code == 1
    assert (first.rows[0]["accepted"], first.rows[0]["rejected"]) == (2, 2)
    assert "line 3" in first.err
    assert "line 4: /temp" in first.err
    assert second.code == 0, second.err
    assert (second.rows[0]["accepted"], second.rows[0]["accepted_before"], second.rows[0]["sent"]) == (
        2,
        2,
        2,
    )
    assert other.code == 1
    assert "row 0 of job 'archive'" in other.err
    assert run("publish", name, json.dumps(good[0]), "--job", "archive").code == 2
    assert run("query", name).rows == good
