"""Bars: where somebody looks on and only there; never where a script runs, never in the way of the call."""

from __future__ import annotations

import io
import sys

import pytest

from matrixdata.connect import progress
from matrixdata.errors import MissingExtra
from matrixdata.receiving import SyncProgress
from tests.servers import wait_until


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(progress, "_DELAY", 0)
    monkeypatch.setattr(progress, "_PACE", 0)


def shown(monkeypatch, stderr, given=None):
    """What publishing with `progress=given` writes to stderr."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        with progress.publishing_bar(given) as told:
            if told is not None:
                told(0, 250)
                told(250, 500)
                told(500, 500)
    return stderr.getvalue() if stderr else ""


def test_a_terminal_gets_a_bar_and_a_pipe_none(monkeypatch):
    assert "publishing" in shown(monkeypatch, Terminal())
    assert shown(monkeypatch, io.StringIO()) == ""
    assert shown(monkeypatch, None) == ""  # as under pythonw


def test_false_silences_and_true_insists(monkeypatch):
    assert shown(monkeypatch, Terminal(), False) == ""
    assert "publishing" in shown(monkeypatch, io.StringIO(), True)


def test_a_function_is_called_and_no_bar_is_drawn(monkeypatch):
    calls = []
    assert shown(monkeypatch, Terminal(), lambda *numbers: calls.append(numbers)) == ""
    assert calls == [(0, 250), (250, 500), (500, 500)]
    with pytest.raises(TypeError, match="progress=3"), progress.publishing_bar(3):
        pass


def test_syncing_has_a_bar_too(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.syncing_bar(None) as told:
        told(SyncProgress(events=1000, oldest=0, gaps=2))
        told(SyncProgress(events=2000, oldest=0, gaps=0, newest=3 * 86_400_000, rate=500.0))
    assert "syncing" in terminal.getvalue()
    assert "0 gaps left, 3 days so far" in terminal.getvalue()


def test_a_query_that_waits_for_history_has_one_while_it_waits(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = progress.QueryBar(None)
    with bar:
        assert terminal.getvalue() == ""
    with bar:
        bar.told(SyncProgress(events=1000, oldest=0, gaps=2))
        assert "fetching history" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")  # taken away again


def test_a_querys_bar_can_be_silenced_or_be_a_function(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    states = [SyncProgress(events=0, oldest=None, gaps=1), SyncProgress(events=5, oldest=0, gaps=0)]
    told = []
    for given in (False, told.append):
        bar = progress.QueryBar(given)
        with bar:
            for state in states:
                bar.told(state)
    assert told == states
    assert sys.stderr.getvalue() == ""
    with pytest.raises(TypeError, match="progress=3"):
        progress.QueryBar(3)


def test_a_server_that_has_to_be_started_is_waited_for_with_a_bar(monkeypatch):
    monkeypatch.setattr(progress, "_TICK", 0.001)
    for stderr, needed, seen in (
        (Terminal(), True, True),
        (Terminal(), False, False),
        (io.StringIO(), True, False),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stderr)
            with progress.starting_bar(lambda needed=needed: needed):
                if seen:
                    wait_until(lambda stderr=stderr: "starting the homeserver" in stderr.getvalue())
        assert bool(stderr.getvalue()) is seen


def test_without_tqdm_there_is_no_bar_and_no_failure(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert shown(monkeypatch, Terminal()) == ""


def test_without_nest_asyncio_the_opt_in_says_what_to_install(monkeypatch):
    from matrixdata.jupyter import allow_nested_loops

    monkeypatch.setitem(sys.modules, "nest_asyncio", None)
    with pytest.raises(MissingExtra, match=r"matrixdata\[notebook\]"):
        allow_nested_loops()
