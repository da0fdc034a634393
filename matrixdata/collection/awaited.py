"""A property to await. Unlike a bare coroutine it may be looked at, as completers do, without being run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

T = TypeVar("T")


class Awaited(Generic[T]):
    """Runs `work` each time it is awaited, and not before."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work

    def __await__(self) -> Generator[object, object, T]:
        """Run and give the result."""
        return self._work().__await__()

    def __repr__(self) -> str:
        return "<await this property to read it>"
