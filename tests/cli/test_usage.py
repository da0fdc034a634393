"""What holds for every command: help, usage errors, exit codes, no secrets in arguments."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from matrixdata.cli import main
from tests.cli.conftest import Run

COMMANDS = [
    "collections", "completion", "create", "demo", "doctor", "login", "logout", "outbox", "publish", "query",
    "server", "sql", "status", "subscribe",
]  # fmt: skip


def test_help_lists_every_command_and_shows_examples(run: Run) -> None:
    done = run("--help")

    assert done.code == 0
    assert all(f"  {command} " in done.out for command in COMMANDS)
    assert "Examples:\n    matrixdata demo\n" in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run: Run, command: str) -> None:
    done = run(command, "--help")

    assert done.code == 0
    assert f"Examples:\n    matrixdata {command}" in done.out


def test_help_imports_no_command_and_nothing_of_the_library() -> None:
    code = (
        "import sys\nfrom matrixdata.cli import main\n"
        "try:\n    main(['--help'], 'matrixdata')\n"
        "finally:\n    print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())

    assert "matrixdata.cli" in loaded
    assert loaded.isdisjoint({"httpx", "anyio", "pandas", "matrixdata.connect", "matrixdata.cli.publish"})


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["pubish", "x"], "did you mean 'publish'?"),
        (["server", "staus"], "did you mean 'status'?"),
        (["xyzzy"], "there are demo, server,"),
        (["query"], "Missing argument 'NAME'"),
        (["query", "x", "-o", "x.xls"], ".parquet, .csv, .jsonl or .ndjson"),
        (["subscribe", "x", "--start", "yesterday"], "2026-01-01T00:00:00Z"),
        (["subscribe", "x", "--start", "2026-01-01T00:00:00"], "no time zone"),
        (["publish", "x", "readings.csv"], ".json, .jsonl or .ndjson"),
        (["publish", "x", "-", "--uid", "u"], "--uid is for one record"),
        (["logout"], "no saved login"),
        (["login", "local"], "needs no login"),
        (["login", "https://x.invalid", "--user", "ada"], "MATRIXDATA_PASSWORD"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2_and_says_what_is_right(run: Run, arguments: list[str], hint: str) -> None:
    done = run(*arguments)

    assert done.code == 2
    assert done.err.startswith("error: ")
    assert hint in done.err
    assert done.out == ""


@pytest.mark.parametrize("secret", ["--password", "--token"])
def test_no_option_takes_a_secret(run: Run, secret: str) -> None:
    done = run("login", "https://x.invalid", "--user", "ada", secret, "swordfish")

    assert done.code == 2


def test_a_password_file_that_others_can_read_is_refused(run: Run, tmp_path) -> None:
    file = tmp_path / "password"
    file.write_text("swordfish\n")
    file.chmod(0o640)

    done = run("login", "https://x.invalid", "--user", "ada", "--password-file", str(file))

    assert done.code == 2
    assert "chmod 600" in done.err
    assert "swordfish" not in done.err


def test_what_fails_exits_1_without_a_traceback(run: Run) -> None:
    done = run("query", "x", "--profile", "nobody")

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: nobody is logged in")
    assert "matrixdata login URL --profile nobody" in done.err
    assert "Traceback" not in done.err


def test_a_mistake_of_ours_says_so_and_keeps_its_traceback_for_those_who_want_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> click.Command:
        raise RuntimeError("boom \x1b[31m")

    monkeypatch.setattr(type(main), "get_command", broken)

    done, debugged = run("logout"), run("logout", MATRIXDATA_DEBUG="1")

    assert (done.code, debugged.code) == (1, 1)
    assert "mistake of ours" in done.err
    assert "\x1b" not in done.err
    assert "Traceback" not in done.err
    assert "Traceback" in debugged.err


def test_a_closed_pipe_is_no_failure(shell) -> None:
    done = shell("matrixdata --help | head -1")

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
