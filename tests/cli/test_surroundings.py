"""collections, status, outbox, doctor and completion: what a person asks when wondering."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

import matrixdata as md
from matrixdata import homeserver
from matrixdata.cli.server_checks import clock_of, session_of
from matrixdata.model.session import Session
from tests.cli.conftest import Run
from tests.servers import RawUser

_number = itertools.count(1)


def levels(rows: list[dict[str, str]]) -> dict[str, str]:
    return {row["what"]: row["level"] for row in rows}


# --- collections and status --------------------------------------------------------------------------


@pytest.mark.server
def test_collections_are_listed_and_what_others_named_is_inert(
    run: Run, shell: Callable[..., subprocess.CompletedProcess[str]], home: Path
) -> None:
    evil = "shelf \x1b[31m\u202e"
    with md.connect("local", user="lister") as client:
        mine = client.create_collection("mine", encrypted=False)
        hostile = client.create_collection("hostile", encrypted=False, public=True)
        address = homeserver.start(home / "server")
        raw = RawUser(address.url, client.user_id, homeserver.register(address, "lister"))
        assert raw.put_state(hostile.room_id, "io.matrixdata.collection", "", {"name": evil}).is_success
        raw.close()
    run("query", hostile.room_id, "--count", "--profile", "local-lister-guest")

    rows = {row["room_id"]: row for row in run("collections", "--profile", "local-lister").rows}
    others = run("collections", "--profile", "local-lister-guest")
    shown = shell('script -qec "matrixdata collections --profile local-lister-guest" /dev/null </dev/null')

    assert rows[mine.room_id] == {
        "room_id": mine.room_id, "name": "mine", "claimed_name": "mine", "encrypted": False, "members": 1,
    }  # fmt: skip
    assert [(row["name"], row["claimed_name"], row["members"]) for row in others.rows] == [(None, evil, 2)]
    assert hostile.room_id in shown.stdout
    assert not set("\x1b\u202e") & set(others.out + shown.stdout)


@pytest.mark.server
@pytest.mark.usefixtures("home")
def test_status_says_who_and_what_waits(run: Run) -> None:
    done = run("status", "--profile", "local-asker")

    (row,) = done.rows
    assert done.code == 0
    assert row["user_id"].startswith("@asker:")
    assert (row["connected"], row["problem"], row["queued"], row["stuck"]) == (True, None, 0, 0)


# --- outbox ------------------------------------------------------------------------------------------


@pytest.mark.server
@pytest.mark.usefixtures("home")
def test_what_the_server_refused_is_listed_and_can_be_retried_or_cancelled(run: Run) -> None:
    visitor = f"visitor-{next(_number)}"
    profile = ("--profile", f"local-{visitor}")
    with md.connect("local") as owner:
        made = owner.create_collection(visitor, public=True, encrypted=False)
        assert run("query", made.room_id, "--count", *profile).rows == [0]
        for uid in ("first", "second"):
            assert run("publish", made.room_id, '{"note": "\\u001b[31m"}', "--uid", uid, *profile).code == 1

        stuck = run("outbox", *profile)
        refused = run("outbox", "retry", "first", *profile)
        dropped = run("outbox", "cancel", "second", *profile)
        counted = run("status", *profile)
        made.invite(f"@{visitor}:{owner.user_id.split(':', 1)[1]}", role="writer")
        run("publish", made.room_id, '{"note": "3"}', "--uid", "third", *profile)
        mended = run("outbox", "retry", "--all", *profile)

        assert [(row["uid"], row["state"], row["reason"]) for row in stuck.rows] == [
            ("first", "stuck", "M_FORBIDDEN"), ("second", "stuck", "M_FORBIDDEN"),
        ]  # fmt: skip
        assert "\x1b" not in stuck.out
        assert (refused.code, refused.rows[0]["state"]) == (1, "stuck")
        assert dropped.rows == [{"uid": "second", "state": "cancelled"}]
        assert counted.rows[0]["stuck"] == 1
        assert mended.code == 0
        assert {row["uid"]: row["state"] in {"sent", "synced"} for row in mended.rows} == {"first": True}
        assert made.query().count() == 2
        assert run("outbox", "retry", "--all", *profile).rows == []
        assert (
            run("outbox", "retry", *profile).code == run("outbox", "retry", "x", "--all", *profile).code == 2
        )


@pytest.mark.server
@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("what", ["retry", "cancel"])
def test_what_is_not_stuck_cannot_be_mended(run: Run, what: str) -> None:
    done = run("outbox", what, "nothing")

    assert (done.code, done.out) == (1, "")
    assert "matrixdata outbox list" in done.err


# --- doctor ------------------------------------------------------------------------------------------


def test_a_fresh_installation_is_in_order_and_stays_untouched(run: Run, matrixdata_home: Path) -> None:
    done = run("doctor")

    assert done.code == 0, done.out
    assert "fail" not in levels(done.rows).values()
    assert not matrixdata_home.exists() or not list(matrixdata_home.iterdir())


@pytest.mark.server
@pytest.mark.usefixtures("home")
def test_a_healthy_account_and_its_server_are_found_so(run: Run) -> None:
    run("status", "--profile", "local-patient")

    done = run("doctor", "--profile", "local-patient")

    found = levels(done.rows)
    assert done.code == 0, done.out
    wanted = (
        "data directory",
        "store account.db",
        "store replica.db",
        "profile",
        "server",
        "clock",
        "session",
    )
    assert {what: found.get(what) for what in wanted} == dict.fromkeys(wanted, "ok")
    assert "syt_" not in done.out  # how Synapse's access tokens begin


@pytest.mark.server
def test_what_is_broken_is_named_with_what_to_do(run: Run, home: Path) -> None:
    with md.connect("local", user="broken", profile="broken"):
        pass
    profile = home / "profiles" / "broken"
    profile.chmod(0o755)
    (profile / "replica.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 8000)

    done = run("doctor", "--profile", "broken")

    found = {row["what"]: row for row in done.rows}
    assert done.code == 1
    assert found["store replica.db"]["level"] == "fail"
    assert found["data directory"]["advice"] == f"chmod go-rwx {profile}"
    assert found["session"]["level"] == "ok"


@pytest.mark.server
@pytest.mark.usefixtures("home")
def test_an_ended_session_says_how_to_log_in_again(run: Run) -> None:
    with md.connect("local", user="gone", profile="gone") as client:
        client.logout()

    done = run("doctor", "--profile", "gone")

    (found,) = (row for row in done.rows if row["what"] == "profile")
    assert (done.code, found["level"]) == (1, "fail")
    assert "matrixdata login http://127.0.0.1" in found["advice"]


def test_a_profile_that_nobody_has_fails(run: Run) -> None:
    done = run("doctor", "--profile", "nobody")

    assert done.code == 1
    assert done.rows[-1]["advice"] == "`matrixdata login URL --profile nobody`"


@pytest.mark.parametrize(
    ("apart", "level", "word"),
    [(0, "ok", "agrees"), (25, "ok", "agrees"), (90, "warn", "behind"), (-7200, "warn", "ahead")],
)
def test_clocks_may_differ_by_no_more_than_answers_take(apart: int, level: str, word: str) -> None:
    now = time.time()

    said = clock_of(formatdate(now + apart, usegmt=True), now)

    assert said[1] == level
    assert word in said[2]


@pytest.mark.parametrize("date", [None, "", "yesterday", "Fri, 99 Foo 99999 99:99:99 GMT", "\x1b[31m"])
def test_a_server_without_a_usable_date_is_fine(date: str | None) -> None:
    assert clock_of(date, 0.0)[1] == "ok"


@pytest.mark.parametrize(
    ("soft", "refresh_token", "level", "words"),
    [
        (True, "r", "ok", "next command renews it"),
        (True, None, "fail", "same device; nothing queued is lost"),
        (False, "r", "fail", "new device; nothing queued is lost"),
    ],
)
def test_how_a_session_ended_decides_what_doctor_advises(
    soft: bool, refresh_token: str | None, level: str, words: str
) -> None:
    body = {"errcode": "M_UNKNOWN_TOKEN", "error": "no", "soft_logout": soft}
    session = Session("https://h", "@ada:h", "DEVICE", "token", refresh_token)

    said = session_of(httpx.Response(401, json=body), session)

    assert said[:2] == ("session", level)
    assert words in said[2] + said[3]


# --- completion --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(run: Run, kind: str) -> None:
    done = run("completion", kind)

    assert done.code == 0
    assert "_MATRIXDATA_COMPLETE=" in done.out
    assert "completion " + kind in run("completion", "--help").out


def test_bash_completes_commands_and_options(
    shell: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = shell(
        'eval "$(matrixdata completion bash)"\n'
        "COMP_WORDS=(matrixdata que); COMP_CWORD=1; _matrixdata_completion matrixdata que matrixdata\n"
        'echo "${COMPREPLY[@]}"\n'
        "COMPREPLY=(); COMP_WORDS=(matrixdata query --wh); COMP_CWORD=2; _matrixdata_completion matrixdata --wh query\n"
        'echo "${COMPREPLY[@]}"\n'
    )

    assert (done.stdout, done.stderr) == ("query\n--where\n", "")


def test_another_shell_is_wrong_usage(run: Run) -> None:
    assert run("completion", "tcsh").code == 2
