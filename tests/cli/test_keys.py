"""keys and verify: what they print, and where they take secrets from."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest

import matrixdata as md
from tests.cli.conftest import Run
from tests.servers import wait_until

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("served")]


def test_keys_says_how_this_device_stands(run: Run) -> None:
    (found,) = run("keys", "status", "--profile", "local-keeper").rows
    assert found["identity"] == "held"
    assert re.fullmatch(r"([A-Za-z0-9+/]{4} ){10}[A-Za-z0-9+/]{3}", found["fingerprint"])
    (device,) = run("keys", "devices", "--profile", "local-keeper").rows
    assert (device["device_id"], device["standing"]) == (found["device_id"], "verified")


def test_secrets_come_by_environment_or_a_private_file_and_never_by_argument(
    run: Run, tmp_path: Path
) -> None:
    profile = ("--profile", "local-safe")
    key = run("keys", "set-up", "--replace", *profile).rows[0]["recovery_key"]
    assert run("keys", "recover", *profile, MATRIXDATA_RECOVERY_KEY=key).rows[0]["signed"] is True
    file = tmp_path / "key"
    file.write_text(f"{key}\n")
    file.chmod(0o644)
    refused = run("keys", "recover", "--key-file", str(file), *profile)
    assert (refused.code, "chmod 600" in refused.err) == (2, True)
    file.chmod(0o600)
    assert run("keys", "recover", "--key-file", str(file), *profile).code == 0
    asked = run("keys", "recover", *profile)
    assert (asked.code, "MATRIXDATA_RECOVERY_KEY" in asked.err) == (2, True)
    wrong = run(
        "keys", "recover", *profile, MATRIXDATA_RECOVERY_KEY=key[:-1] + ("1" if key[-1] != "1" else "2")
    )
    assert (wrong.code, key[:20] in wrong.err) == (1, False)


def test_room_keys_go_to_a_file_and_back(run: Run, tmp_path: Path) -> None:
    file, words = str(tmp_path / "keys.txt"), {"MATRIXDATA_PASSPHRASE": "some words"}
    run("create", "sealed", "--profile", "local-mover")
    run("publish", "sealed", json.dumps({"n": 1}), "--profile", "local-mover")
    assert run("keys", "export", file, "--profile", "local-mover", **words).rows == [{"exported": 1}]
    assert run("keys", "import", file, "--profile", "local-taker", **words).rows == [{"imported": 1}]
    assert run("keys", "import", file, "--profile", "local-taker", MATRIXDATA_PASSPHRASE="x").code == 1


def test_two_users_verify_each_other_from_the_command_line_and_from_python(run: Run) -> None:
    with md.connect("local", user="pat") as pat, md.connect("local", user="kim") as kim:
        them = kim.user_id

        def answer() -> None:
            (asked,) = wait_until(kim.keys.requests)
            asked.compare()
            asked.confirm()

        thread = threading.Thread(target=answer)
        thread.start()
        said = run("verify", them, "--profile", "local-pat", given="y\n")
        thread.join()
        assert (said.code, said.rows[0]["state"]) == (0, "done")
        assert {it.standing for it in pat.keys.devices(them)} == {"verified"}
