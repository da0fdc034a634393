"""Progress bars of the blocking face: in notebooks and on terminals, after a second, with tqdm if it is there.

Silent in scripts and pipes. What it draws goes to stderr, never to stdout.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from matrixdata.collection.progress import Progress, callback_of

if TYPE_CHECKING:
    from types import TracebackType

    from matrixdata.receiving import SyncProgress

_DELAY = 1.0
"""Seconds before a bar appears: what is quicker needs none."""
_PACE = 0.5
"""Seconds between two drawings."""
_TICK = 0.5
"""Seconds between two looks at the clock, where nothing else moves a bar."""


@contextmanager
def publishing_bar(
    progress: Progress[int, int],
) -> Generator[Callable[[int, int], None] | None]:
    """What to pass as `progress` to publish_many; the bar it draws is closed at the end of the block."""
    given = callback_of(progress)
    bar = None if given else _bar(progress, "publishing", " records")
    if bar is None:
        yield given
        return

    def show(sent: int, accepted: int) -> None:
        bar.total = accepted
        bar.update(max(0, sent - bar.n))

    with bar:
        yield show


@contextmanager
def syncing_bar(
    progress: Progress[SyncProgress],
) -> Generator[Callable[[SyncProgress], None] | None]:
    """What to pass as `progress` to sync; the bar it draws is closed at the end of the block."""
    given = callback_of(progress)
    bar = None if given else _bar(progress, "syncing", " events")
    if bar is None:
        yield given
        return

    with bar:
        yield partial(_show_syncing, bar)


def _show_syncing(bar: Any, state: SyncProgress) -> None:  # noqa: ANN401  tqdm is optional, so its type is too
    left = f"{state.gaps} gap{'s' * (state.gaps != 1)} left"
    back_to = f", {state.span.days} days so far" if state.span is not None else ""
    bar.set_postfix_str(left + back_to, refresh=False)
    bar.update(max(0, state.events - bar.n))


class QueryBar:
    """The bar of a query, which may run many times: made only while one waits for history to arrive.

    Args:
        progress: as in `query`.
    """

    def __init__(self, progress: Progress[SyncProgress]) -> None:
        self._progress = progress
        self._given = callback_of(progress)
        self._bar: Any | None = None

    def told(self, state: SyncProgress) -> None:
        """How far the history is; called in the client's thread."""
        if self._given is not None:
            self._given(state)
            return
        if self._bar is None:
            self._bar = _bar(self._progress, "fetching history", " events")
        if self._bar is not None:
            _show_syncing(self._bar, state)

    def __enter__(self) -> None:
        """The query runs."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It does no more: the bar goes."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()


@contextmanager
def starting_bar(needed: Callable[[], bool] = lambda: True) -> Generator[None]:
    """Says for how long the embedded homeserver has been starting, where somebody looks on.

    Args:
        needed: whether it has to be started at all; asked only where a bar could be seen.
    """
    bar = _bar(None, "starting the homeserver", "", bar_format="{desc}: {elapsed}", needed=needed)
    if bar is None:
        yield
        return
    over = Event()

    def tick() -> None:
        while not over.wait(_TICK):
            bar.update()

    # Of this cell, not of the client's thread, which another cell may have started: so it is drawn here.
    ticking = Thread(target=tick, name="matrixdata-bar", daemon=True)
    ticking.start()
    try:
        yield
    finally:
        over.set()
        ticking.join()
        bar.close()


def _bar(
    progress: object,
    what: str,
    unit: str,
    *,
    needed: Callable[[], bool] = lambda: True,
    **options: object,
) -> Any | None:  # noqa: ANN401  tqdm is optional, so its type is too
    if progress is False or not (progress is True or _watched()) or not needed():
        return None
    try:
        with warnings.catch_warnings():
            # Without ipywidgets tqdm draws with text, which is fine; it need not warn of it.
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm  # noqa: PLC0415  an optional package, imported when first needed
    except ImportError:
        return None
    return tqdm(
        desc=what, unit=unit, delay=_DELAY, leave=False, dynamic_ncols=True, mininterval=_PACE, **options
    )


def _watched() -> bool:
    """Whether somebody looks on: a notebook, or a terminal."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    if running is not None and hasattr(running, "kernel"):
        return True
    return sys.stderr is not None and sys.stderr.isatty()
