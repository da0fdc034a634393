"""The port through which everything reaches the server: one request in, the body's bytes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from matrixdata.protocol.requests import Request


class Transport(Protocol):
    """One attempt at one request. No retry, no waiting: that is `Caller`'s."""

    async def send(self, request: Request) -> bytes:
        """Send once and return the body of a 2xx answer.

        Raises:
            NotSent: nothing reached the server (no connection).
            Unknown: it left, and no trustworthy answer came.
            RateLimited: the server asked for a pause.
            LoggedOut: the access token is no longer accepted.
            Rejected: any other refusal, with its errcode and HTTP status.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...
