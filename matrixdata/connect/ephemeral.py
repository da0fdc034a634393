"""A client that leaves nothing behind: its session ends and its store is removed when it closes."""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from matrixdata.errors import MatrixDataError
from matrixdata.protocol import requests
from matrixdata.transport.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from matrixdata.replica.outbox_item import OutboxItem
    from matrixdata.replica.store import Store
    from matrixdata.transport.session import SessionTransport

log = logging.getLogger("matrixdata")

# Seconds that closing waits for what is queued to be sent, and for the server to end the session.
_PATIENCE = 5.0
_LOOK = 0.05
_MOST_LISTED = 20


def new_directory() -> Path:
    """A directory for one client's store, which nobody else can enter."""
    return Path(tempfile.mkdtemp(prefix="matrixdata-"))


class Ephemeral:
    """What a client does around its end. Entered with the store and the connection still open.

    Args:
        logs_out: whether the session is the client's own; one that was brought as a token goes on.
    """

    def __init__(self, store: Store, transport: SessionTransport, *, logs_out: bool) -> None:
        self._store = store
        self._transport = transport
        self._logs_out = logs_out
        self._lost: Sequence[OutboxItem] = []

    async def drained(self) -> None:
        """Wait a little for what is queued to be sent; with nobody to send it as, do not."""
        with suppress(MatrixDataError), anyio.move_on_after(_PATIENCE):
            while await self._waits():  # noqa: ASYNC110  no event tells that the outbox is empty
                await anyio.sleep(_LOOK)

    async def _waits(self) -> bool:
        return self._transport.logged_out is None and bool((await self._store.outbox.counts()).get("queued"))

    async def __aenter__(self) -> None:
        """End the session, and see what will be lost."""
        try:
            self._lost = await self._store.outbox.entries(states=("queued", "stuck"))
            session = await self._store.account.session()
            if self._logs_out and session is not None and session.access_token is not None:
                with anyio.move_on_after(_PATIENCE):
                    await Caller(self._transport).call(requests.logout(), patience=0)
        except MatrixDataError as error:  # the files must go all the same
            log.warning("the session could not be ended on the server: %s", error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the store; then say what was lost with it."""
        await anyio.to_thread.run_sync(remove, self._store.directory)
        if self._lost:
            text = _told(self._lost)
            log.warning("%s", text)
            warnings.warn(text, UserWarning, stacklevel=2)


def remove(directory: Path) -> None:
    """Remove a store with everything in it."""
    shutil.rmtree(directory, ignore_errors=True)


def _told(lost: Sequence[OutboxItem]) -> str:
    count = sum(item.records for item in lost)
    shown = [f"  {item.uid} for {item.room_id} ({item.reason or item.state})" for item in lost[:_MOST_LISTED]]
    if len(lost) > _MOST_LISTED:
        shown.append(f"  … and {len(lost) - _MOST_LISTED} more")
    return "\n".join(
        [
            f"this client kept nothing (ephemeral=True), so {count} accepted records were never sent:",
            *shown,
        ]
    )
