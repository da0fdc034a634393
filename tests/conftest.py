"""What holds for every test: no network but loopback, no data but the test's own, no hidden skips."""

from __future__ import annotations

import ipaddress
import itertools
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.federation import federating, federation
from tests.requirements import EVERYTHING_REQUIRED, MARKERS, require
from tests.servers import pair, server, server_address

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

__all__ = ["federating", "federation", "pair", "server", "server_address"]  # shared by all tests that ask

# No test asks the keyring of whoever runs it; children inherit that.
os.environ["MATRIXDATA_KEYRING"] = "off"

# The same code gets the same verdict, everywhere; `--hypothesis-profile=deep` hunts for new examples.
# A shell starts what it runs in the background with Ctrl-C ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("desk", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("quick", deadline=None, max_examples=15, derandomize=True)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, print_blob=True)
settings.register_profile("deep", deadline=None, max_examples=5_000, print_blob=True)
settings.load_profile("ci" if EVERYTHING_REQUIRED else "desk")


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Tests marked `anyio` run under both event loops."""
    return str(request.param)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in MARKERS:
        if item.get_closest_marker(name):
            require(name)


# --- a skip is a failure where everything is required ------------------------------------------------


def _forbid_skip(report: pytest.CollectReport | pytest.TestReport) -> None:
    if EVERYTHING_REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"MATRIXDATA_REQUIRE=all forbids this skip: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _forbid_skip(report)
    return report


# --- loopback only -----------------------------------------------------------------------------------


class NetworkUsed(AssertionError):
    """A test reached for an address outside this machine. No `except OSError` may take it for an outage."""


def _text(host: Any) -> str:
    return host.decode() if isinstance(host, bytes) else str(host or "")


def _stays_here(host: Any) -> bool:
    if _text(host) in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(_text(host)).is_loopback
    except ValueError:
        return False


_reached_for: list[str] = []


def _refuse(target: object) -> None:
    _reached_for.append(str(target))
    msg = f"a test reached for {target!r}; tests may talk to 127.0.0.1, ::1 and localhost only"
    raise NetworkUsed(msg)


def _guarded_connect(original: Callable[..., Any]) -> Callable[..., Any]:
    def connect(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _stays_here(address[0]):
            _refuse(address)
        return original(self, address)

    return connect


def _guarded_getaddrinfo(original: Callable[..., Any]) -> Callable[..., Any]:
    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if _text(host).endswith(".invalid"):  # by RFC 6761 such a name never resolves: say so without asking
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if not _stays_here(host):
            _refuse(host)
        return original(host, *args, **kwargs)

    return getaddrinfo


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _guarded_connect(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", _guarded_connect(socket.socket.connect_ex))
        patch.setattr(socket, "getaddrinfo", _guarded_getaddrinfo(socket.getaddrinfo))
        yield


@pytest.fixture(autouse=True)
def _no_network_went_unnoticed(_loopback_only: None) -> Iterator[None]:
    """Fail even where the code under test swallowed NetworkUsed, as the edge of a background task may."""
    yield
    reached_for = _reached_for.copy()
    _reached_for.clear()
    assert not reached_for, f"this test reached outside this machine: {reached_for}"


# --- never the user's own data -----------------------------------------------------------------------


def _stop_servers_below(home: Path) -> None:
    """End what `connect("local")` or a documented command left running, as it should for a user."""
    if home.exists():
        from matrixdata import homeserver
        from matrixdata.homeserver.process import ALIVE

        for mark in home.rglob(ALIVE):
            homeserver.stop(mark.parent)


@pytest.fixture(scope="session", autouse=True)
def _session_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For fixtures that outlive one test, such as a shared server."""
    home = tmp_path_factory.mktemp("matrixdata-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATRIXDATA_HOME", str(home))
        yield home
    _stop_servers_below(home)


_test_number = itertools.count(1)


@pytest.fixture(autouse=True)
def matrixdata_home(_session_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What stands in for the user's data directory in this test. It does not exist yet, as on a first day."""
    home = _session_home / f"test-{next(_test_number)}"
    monkeypatch.setenv("MATRIXDATA_HOME", str(home))
    yield home
    _stop_servers_below(home)
