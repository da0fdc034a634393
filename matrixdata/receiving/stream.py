"""An endless async iterator over what a function gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class AsyncStream(Generic[T]):
    """Each step calls `following`; what that raises ends nothing, so that it can be asked again."""

    def __init__(self, following: Callable[[], Awaitable[T]]) -> None:
        self._following = following

    def __repr__(self) -> str:
        return "<items of a subscription; iterate over them>"

    def __aiter__(self) -> AsyncStream[T]:
        """Iterate."""
        return self

    async def __anext__(self) -> T:
        """The next one."""
        return await self._following()
