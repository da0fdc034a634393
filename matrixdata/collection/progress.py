"""What `progress=` takes. Bars are the blocking face's; the core only ever calls a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeAlias

P = ParamSpec("P")
Progress: TypeAlias = "Callable[P, None] | bool | None"
"""A function told of the progress; None and True for a bar where there is somebody to see it; False for none."""


def callback_of(progress: Progress[P]) -> Callable[P, None] | None:
    """The function that was given, if one was.

    Raises:
        TypeError: it is neither a function, a bool nor None.
    """
    if progress is None or isinstance(progress, bool):
        return None
    if not callable(progress):
        raise TypeError(f"progress={progress!r}; it takes a function, True, False or None")
    return progress
