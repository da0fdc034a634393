"""Interrupts at any moment: what a signal raises in the main thread, as Ctrl-C raises KeyboardInterrupt."""

from __future__ import annotations

import random
import signal
import sys
from contextlib import contextmanager


class Interrupted(BaseException):
    """What is raised."""


@contextmanager
def interrupts(seed):
    """Raises Interrupted in the main thread at changing intervals, while `armed`."""
    armed, on, chance = [False], [True], random.Random(seed)

    def on_signal(*_):
        if on[0]:  # one may be under way when the block ends, and the timer is another's again
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0005, 0.008))
        if armed[0]:
            raise Interrupted

    before, hook = signal.signal(signal.SIGALRM, on_signal), sys.unraisablehook
    sys.unraisablehook = lambda _: None  # Python drops one that comes within a destructor
    timer = signal.setitimer(signal.ITIMER_REAL, 0.001)
    try:
        yield armed
    finally:
        armed[0] = on[0] = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        sys.unraisablehook = hook
        signal.setitimer(signal.ITIMER_REAL, *timer)
