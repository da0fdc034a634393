"""Request bodies as one chunk. httpx's own is a generator, of which trio complains when a request is cancelled."""

from __future__ import annotations

import httpx


class OneChunk(httpx.AsyncByteStream):
    """A body that can be left halfway."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> _Chunks:
        """Anew for each attempt."""
        return _Chunks(self._content)


class _Chunks:
    def __init__(self, content: bytes) -> None:
        self._left: bytes | None = content

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        chunk, self._left = self._left, None
        if chunk is None:
            raise StopAsyncIteration
        return chunk
