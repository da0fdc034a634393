"""server, login and logout, and which account a command uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from matrixdata import homeserver
from tests.cli.conftest import Run
from tests.servers import RawUser

pytestmark = pytest.mark.server


@pytest.fixture
def address(served: Path) -> homeserver.ServerAddress:
    return homeserver.start(served / "server")


def test_a_server_is_started_once_found_and_stopped(run: Run) -> None:
    before = run("server", "status")
    first, second, running = run("server", "start"), run("server", "start"), run("server", "status")
    stopped, after = run("server", "stop"), run("server", "status")

    assert (before.code, before.rows[0]["state"]) == (1, "stopped")
    assert (first.rows[0]["started"], second.rows[0]["started"]) == (True, False)
    assert (running.code, running.rows[0]["state"], running.rows[0]["url"]) == (
        0,
        "running",
        first.rows[0]["url"],
    )
    assert (stopped.rows, after.code) == ([{"stopped": True}], 1)


def test_without_a_login_the_embedded_server_is_used_and_announced_once(run: Run) -> None:
    created = run("create", "here", "--no-encrypt")
    again = run("query", "here", "--count")

    assert created.code == 0
    assert created.err.count("private homeserver on this machine") == 1
    assert (again.rows, again.err) == ([0], "")


def test_the_first_login_becomes_the_default_and_others_are_asked_for(
    run: Run, address: homeserver.ServerAddress
) -> None:
    ada, bob = f"@ada:{address.name}", f"@bob:{address.name}"
    words = {user: homeserver.register(address, user) for user in ("ada", "bob")}

    first = run("login", address.url, "--user", ada, MATRIXDATA_PASSWORD=words["ada"])
    second = run("login", address.url, "--user", bob, "--profile", "second", MATRIXDATA_PASSWORD=words["bob"])
    run("create", "adas", "--no-encrypt")
    run("create", "bobs", "--no-encrypt", "--profile", "second")

    assert (first.rows[0]["user_id"], first.rows[0]["default"]) == (ada, True)
    assert (second.rows[0]["user_id"], second.rows[0]["default"]) == (bob, False)
    assert run("query", "adas", "--count").rows == [0]
    assert run("query", "bobs", "--count").code == 1
    assert run("--profile", "second", "query", "bobs", "--count").rows == [0]
    assert run("query", "bobs", "--count", MATRIXDATA_PROFILE="second").rows == [0]
    assert not any(word in done.out + done.err for word in words.values() for done in (first, second))

    assert run("logout", "--profile", "second").code == 0
    assert "logged out" in run("query", "bobs", "--profile", "second").err


def test_a_login_that_was_ended_elsewhere_is_said_and_begun_again_with_nothing_lost(
    run: Run, address: homeserver.ServerAddress
) -> None:
    word, user = homeserver.register(address, "ida"), f"@ida:{address.name}"
    given = {"MATRIXDATA_PASSWORD": word, "MATRIXDATA_PROFILE": "ida"}
    run("login", address.url, "--user", user, **given)
    run("create", "here", "--no-encrypt", **given)
    before = run("status", **given).rows[0]
    raw = RawUser(address.url, user, word)
    raw.end(before["device_id"], word)

    status, doctor = run("status", **given), run("doctor", **given)
    published = run("publish", "here", '{"n": 1}', "--wait", "queued", **given)
    again = run("login", address.url, "--user", user, **given)
    after = run("status", **given)
    raw.close()

    assert status.code == 1
    assert "no longer logged in" in status.rows[0]["problem"]
    (said,) = [row for row in doctor.rows if row["what"] == "session"]
    assert (said["level"], doctor.code) == ("fail", 1)
    assert f"matrixdata login {address.url} --user {user}" in said["advice"]
    assert published.code == 0
    assert (again.code, after.code) == (0, 0)
    assert after.rows[0]["device_id"] != before["device_id"]
    assert run("query", "here", **given).rows == [{"n": 1}]


def test_a_password_from_a_file_of_ones_own(
    run: Run, address: homeserver.ServerAddress, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text(homeserver.register(address, "eve") + "\n")

    done = run("login", address.url, "--user", f"@eve:{address.name}", "--password-file", str(file))

    assert done.code == 0, done.err


def test_a_wrong_password_is_a_failure(run: Run, address: homeserver.ServerAddress) -> None:
    homeserver.register(address, "ada")

    done = run("login", address.url, "--user", f"@ada:{address.name}", MATRIXDATA_PASSWORD="swordfish")

    assert done.code == 1
    assert "M_FORBIDDEN" in done.err
    assert "swordfish" not in done.err
    assert run("logout").code == 2  # nothing was saved


def test_saying_everything_says_no_secret(run: Run, address: homeserver.ServerAddress) -> None:
    word = homeserver.register(address, "kim")
    user = f"@kim:{address.name}"

    run("-vv", "login", address.url, "--user", user, "--profile", "kim", MATRIXDATA_PASSWORD=word)
    done = subprocess.run(
        [sys.executable, "-m", "matrixdata.cli", "-vv", "--profile", "kim", "create", "x", "--no-encrypt"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert word not in done.stderr
    assert "syt_" not in done.stderr  # how Synapse's access tokens begin
    assert "Bearer" not in done.stderr


@pytest.mark.usefixtures("home")
def test_another_user_of_the_embedded_server(run: Run) -> None:
    (made,) = run("create", "shared", "--public", "--no-encrypt").rows

    assert run("query", made["room_id"], "--count", "--profile", "local-guest").rows == [0]
    assert run("query", "shared", "--count", "--profile", "local").rows == [0]
