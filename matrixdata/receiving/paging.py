"""Paging back through a room's history: empty pages are followed, loops are not. Stores nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from matrixdata.errors import MatrixDataError, PaginationLoop, Unknown
from matrixdata.protocol.requests import messages
from matrixdata.protocol.sync import MalformedResponse, MessagesPage, parse_messages

if TYPE_CHECKING:
    from matrixdata.transport.caller import Caller

log = logging.getLogger("matrixdata.receiving")

# Servers hand out empty pages that go on (what we may not see is left out of them), but not without end.
_EMPTY_PAGES = 200


class Page(msgspec.Struct, frozen=True):
    """A page that has events, or the last one.

    Attributes:
        after: the token that goes on from it; None where history begins.
    """

    found: MessagesPage
    after: str | None

    @classmethod
    def none(cls) -> Page:
        """What stands before the first page, which has the newest events."""
        return cls(MessagesPage((), ""), "")


class Paging:
    """One walk back through one room's history; remembers where it was, so that a loop is noticed."""

    def __init__(self, caller: Caller, room_id: str, *, patience: float) -> None:
        self._caller = caller
        self._room_id = room_id
        self._patience = patience
        self._seen: set[str] = set()
        self._ahead: tuple[str, Page | MatrixDataError] | None = None

    async def page(self, token: str, *, limit: int) -> Page:
        """The page that `token` leads to ("": the newest events), already fetched or not.

        Raises:
            PaginationLoop: the server leads back to where we were, or on and on without an event.
            NotSent, Unknown, RateLimited, Rejected: as `Caller.call`.
        """
        if self._ahead is not None and self._ahead[0] == token:
            _, page = self._ahead
            self._ahead = None
            if isinstance(page, MatrixDataError):
                raise page
            return page
        return await self._fetch(token, limit)

    async def look_ahead(self, token: str, *, limit: int) -> None:
        """Fetch a page before it is asked for; what goes wrong is raised when it is."""
        try:
            self._ahead = token, await self._fetch(token, limit)
        except MatrixDataError as error:
            self._ahead = token, error

    async def _fetch(self, token: str, limit: int) -> Page:
        for _ in range(_EMPTY_PAGES):
            self._seen.add(token)
            request = messages(self._room_id, start=token or None, limit=limit)
            try:
                page = parse_messages(await self._caller.call(request, patience=self._patience))
            except MalformedResponse as error:
                raise Unknown(f"the server's history of {self._room_id} is malformed: {error}") from error
            if page.unreadable:
                log.warning(
                    "%d events of %s have no usable id; they cannot be kept", page.unreadable, self._room_id
                )
            after = None if _is_start(page) else page.end
            if after is not None and after in self._seen:
                raise PaginationLoop(self._room_id)
            if page.events or after is None:
                return Page(page, after)
            token = after
        raise PaginationLoop(self._room_id)


def _is_start(page: MessagesPage) -> bool:
    """Nothing comes before a room's creation, though servers go on handing out tokens (measured)."""
    return any(event.type == "m.room.create" and event.state_key == "" for event in page.events)
