"""Small awaitables of the async face: a property to await, and rows that are fetched by iterating."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator

T = TypeVar("T")


class Awaited(Generic[T]):
    """A property to await: runs `work` each time, and not before.

    Unlike a bare coroutine it may be looked at, as completers do, without a warning that it never ran.
    """

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work

    def __await__(self) -> Generator[object, object, T]:
        """Run and give the result."""
        return self._work().__await__()

    def __repr__(self) -> str:
        return "<await this property to read it>"


class Fetched(AsyncIterator[T]):
    """Iterates over what one `fetch` gives. Holds nothing open, so leaving the loop early needs no care."""

    def __init__(self, fetch: Callable[[], Awaitable[Iterable[T]]]) -> None:
        self._fetch = fetch
        self._rows: Iterator[T] | None = None

    async def __anext__(self) -> T:
        """The next row."""
        if self._rows is None:
            self._rows = iter(await self._fetch())
        try:
            return next(self._rows)
        except StopIteration:
            raise StopAsyncIteration from None
