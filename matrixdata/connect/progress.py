"""Progress bars of the blocking face: in notebooks and on terminals, after a second, with tqdm if it is there.

Silent in scripts and pipes. What it draws goes to stderr, never to stdout.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from matrixdata.collection.progress import Progress, callback_of

if TYPE_CHECKING:
    from matrixdata.receiving import SyncProgress

_DELAY = 1.0
"""Seconds before a bar appears: what is quicker needs none."""


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

    def show(state: SyncProgress) -> None:
        bar.set_postfix_str(f"{state.gaps} gap{'s' * (state.gaps != 1)} left", refresh=False)
        bar.update(max(0, state.events - bar.n))

    with bar:
        yield show


def _bar(progress: object, what: str, unit: str) -> Any | None:  # noqa: ANN401  tqdm is optional, so its type is too
    if progress is False or not (progress is True or _watched()):
        return None
    try:
        with warnings.catch_warnings():
            # Without ipywidgets tqdm draws with text, which is fine; it need not warn of it.
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm  # noqa: PLC0415  an optional package, imported when first needed
    except ImportError:
        return None
    return tqdm(desc=what, unit=unit, delay=_DELAY, leave=False, dynamic_ncols=True, mininterval=0.5)


def _watched() -> bool:
    """Whether somebody looks on: a notebook, or a terminal."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    if running is not None and hasattr(running, "kernel"):
        return True
    return sys.stderr is not None and sys.stderr.isatty()
