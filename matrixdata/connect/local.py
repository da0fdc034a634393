"""LocalServer: an embedded homeserver for a with block, with clients for its users."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anyio
import anyio.to_thread

from matrixdata import homeserver
from matrixdata.connect import paths
from matrixdata.connect.connecting import open_blocking
from matrixdata.connect.login import server_client
from matrixdata.connect.progress import starting_bar
from matrixdata.errors import ClientClosed

if TYPE_CHECKING:
    import os
    from types import TracebackType

    import anyio.abc

    from matrixdata.client import AsyncClient
    from matrixdata.connect.blocking import Client


class LocalServer:
    """A private homeserver on loopback, started on entering and ended on leaving.

    Without a directory it is empty, and everything of it is removed at the end; with one, its users and
    rooms are there again the next time. It ends with this process, however that ends.

    Args:
        directory: where its data lives; None for a temporary one.
        limits: "wide" lifts the rate limits, "stock" keeps those a homeserver has by default.
    """

    def __init__(
        self, directory: str | os.PathLike[str] | None = None, *, limits: Literal["wide", "stock"] = "wide"
    ) -> None:
        self._given = Path(directory) if directory is not None else None
        self._limits = limits
        self._root: Path | None = None
        self._address: homeserver.ServerAddress | None = None
        self._clients: list[Client] = []
        self._tasks: anyio.abc.TaskGroup | None = None
        self._hosted: list[AsyncClient] = []

    def __repr__(self) -> str:
        return f"<LocalServer {self._address.url if self._address else 'not running'}>"

    @property
    def url(self) -> str:
        """Its address, such as http://127.0.0.1:40123."""
        return self._running().url

    @property
    def name(self) -> str:
        """Its server name: the part of user ids after the colon."""
        return self._running().name

    @property
    def directory(self) -> Path:
        """Where its data lives."""
        return self._running().directory

    def _running(self) -> homeserver.ServerAddress:
        if self._address is None:
            raise ClientClosed("this LocalServer is not running; use it in a with block")
        return self._address

    def _start(self) -> None:
        self._root = self._given or Path(tempfile.mkdtemp(prefix="matrixdata-"))
        try:
            self._address = homeserver.start(
                self._root / "server",
                limits=self._limits,
                owned=True,
                environment=paths.server_environment(),
            )
        except BaseException:
            self._clean()
            raise

    def _stop(self) -> None:
        address, self._address = self._address, None
        if address is not None and address.new:
            homeserver.stop(address.directory)
        self._clean()

    def _clean(self) -> None:
        if self._given is None and self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
        self._root = None

    def _store(self, user: str) -> Path:
        self._running()
        assert self._root is not None  # noqa: S101  it is set for as long as the server runs
        return self._root / "clients" / user

    # -- blocking ---------------------------------------------------------------------------------------
    def __enter__(self) -> LocalServer:
        """Start the server."""
        with starting_bar():
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its clients and end the server."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        self._stop()

    def connect(self, user: str) -> Client:
        """A client for a user of this server, registered if new; closed with the server at the latest."""
        client = open_blocking(partial(server_client, self._running(), user, self._store(user)))
        self._clients.append(client)
        return client

    # -- async ------------------------------------------------------------------------------------------
    async def __aenter__(self) -> LocalServer:
        """Start the server."""
        await anyio.to_thread.run_sync(self._start)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its clients and end the server."""
        tasks, self._tasks = self._tasks, None
        try:
            for client in self._hosted:
                await client.close()
            self._hosted.clear()
            if tasks is not None:
                await tasks.__aexit__(None, None, None)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._stop)

    async def connect_async(self, user: str) -> AsyncClient:
        """An open async client for a user of this server; closed with the server at the latest."""
        if self._tasks is None:
            raise ClientClosed("use the server in an async with block for connect_async()")
        client = await server_client(self._running(), user, self._store(user))
        await self._tasks.start(client.run)
        self._hosted.append(client)
        return client
