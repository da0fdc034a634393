from __future__ import annotations

import sys
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from matrixdata import homeserver
from matrixdata.errors import MissingExtra, Unsupported
from matrixdata.homeserver import environment as environments


def nowhere(_):
    return None


def spec_of(place):
    spec = ModuleSpec("synapse", None, is_package=True)
    spec.submodule_search_locations = [str(place)]
    return lambda _: spec


def a_synapse_at(place):
    (place / "app").mkdir(parents=True)
    (place / "app" / "homeserver.py").touch()


def test_where_it_is_missing_the_message_says_how_to_get_it(tmp_path):
    with pytest.raises(MissingExtra, match=r"pip install 'matrixdata\[server\]'") as caught:
        environments.find_python(tmp_path / "none", find_spec=nowhere)
    assert caught.value.extra == "server"
    reason = homeserver.available(tmp_path / "none", find_spec=nowhere)
    assert "pip install 'matrixdata[server]'" in reason
    assert "matrixdata server install" in reason


def test_where_no_wheel_exists_the_message_says_what_to_do_instead():
    with pytest.raises(Unsupported, match=r"md\.connect\(url"):
        environments.find_python(platform="win32")
    assert "md.connect(url" in homeserver.available(platform="win32")


def test_another_project_named_synapse_is_not_taken_for_it(tmp_path):
    assert homeserver.available(find_spec=spec_of(tmp_path)) is not None
    a_synapse_at(tmp_path)
    assert homeserver.available(find_spec=spec_of(tmp_path)) is None
    assert environments.find_python(find_spec=spec_of(tmp_path)) == Path(sys.executable)


@pytest.mark.server
def test_looking_for_it_imports_nothing_of_it():
    assert homeserver.available() is None
    assert not [name for name in sys.modules if name == "synapse" or name.startswith("synapse.")]


def test_with_uv_and_without_the_same_things_are_asked_for(tmp_path):
    plain = environments.install_commands(tmp_path / "env", uv=None)
    quick = environments.install_commands(tmp_path / "env", uv="/usr/bin/uv")
    assert plain[0] == [sys.executable, "-m", "venv", "--clear", str(tmp_path / "env")]
    assert quick[0][:2] == ["/usr/bin/uv", "venv"]
    for commands in (plain, quick):
        assert str(tmp_path / "env" / "bin" / "python") in commands[1]
        assert commands[1][-3:] == ["--only-binary", "matrix-synapse", environments.REQUIREMENT]


def test_an_installation_cut_short_does_not_count(tmp_path):
    a_synapse_at(tmp_path / "env/lib/python3.11/site-packages/synapse")
    (tmp_path / "env/bin").mkdir()
    (tmp_path / "env/bin/python").symlink_to(sys.executable)
    assert homeserver.available(tmp_path / "env", find_spec=nowhere) is not None


def test_a_failed_installation_shows_what_the_installer_said(tmp_path, monkeypatch):
    failing = [sys.executable, "-c", "print('No matching distribution'); raise SystemExit(1)"]
    monkeypatch.setattr(environments, "install_commands", lambda *_, **__: [failing])
    lines = []
    with pytest.raises(Unsupported, match="No matching distribution") as caught:
        homeserver.install(tmp_path / "env", report=lines.append)
    assert "md.connect(url" in str(caught.value)
    assert "No matching distribution" in lines
    assert homeserver.available(tmp_path / "env", find_spec=nowhere) is not None


@pytest.mark.server
@pytest.mark.timeout(400)
def test_installed_apart_it_runs_from_there(tmp_path, monkeypatch):
    """The only test that asks a package index: the one that pip is configured for."""
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    lines = []
    python = homeserver.install(tmp_path / "env", report=lines.append)
    assert any("Synapse is installed" in line for line in lines)
    assert homeserver.install(tmp_path / "env") == python, "the second time there is nothing to do"

    find = partial(environments.find_python, find_spec=nowhere)
    monkeypatch.setattr("matrixdata.homeserver.server.find_python", find)
    try:
        address = homeserver.start(tmp_path / "data", environment=tmp_path / "env", owned=True)
        command = Path(f"/proc/{address.pid}/cmdline")
        if command.exists():
            assert command.read_bytes().startswith(str(python).encode())
    finally:
        homeserver.stop(tmp_path / "data")
