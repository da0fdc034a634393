"""The fixtures for users' own tests, used as a user would: in a pytest run of its own."""

import subprocess
import sys

import pytest

CONFTEST = 'pytest_plugins = ["matrixdata.testing"]\n'
TESTS = """
def test_publish_and_query(matrixdata_client):
    readings = matrixdata_client.create_collection("readings", encrypted=False)
    readings.publish({"temp": 21.5})
    assert readings.query().values() == [{"temp": 21.5}]

def test_two_users(matrixdata_user):
    ada, ben = matrixdata_user("ada"), matrixdata_user("ben")
    shared = ada.create_collection("shared", encrypted=False, invite=[ben.user_id])
    (invite,) = ben.invites()
    assert invite.room_id == shared.room_id

def test_each_test_has_users_of_its_own(matrixdata_client):
    assert matrixdata_client.invites() == [] and matrixdata_client.collections() == []
"""


@pytest.mark.server
def test_a_users_own_tests_get_a_server_and_fresh_clients(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_mine.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=tmp_path, check=False)
    assert "3 passed" in run.stdout, run.stdout + run.stderr
