"""One thread with one event loop, in which a blocking client's async core lives.

The thread is a daemon and closed at interpreter exit by us: a plain executor thread would be joined first,
and a program that forgot close() would hang at its end.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from matrixdata.errors import ClientClosed, ForkedClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future

    from matrixdata.client import AsyncClient

T = TypeVar("T")
_CLOSED = "this client is closed; call matrixdata.connect() again"
_open: weakref.WeakSet[Portal]


class _Call(Generic[T]):
    """One call that can be given up. Not by cancelling its future: if it ends just then, anyio's thread dies of it."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._scope: anyio.CancelScope | None = None
        self._given_up = False

    async def run(self) -> T:
        with anyio.CancelScope() as self._scope:
            if self._given_up:
                self._scope.cancel()
            return await self._work()
        raise CancelledError  # nobody waits for it any more

    def cancel(self) -> None:
        self._given_up = True
        if self._scope is not None:
            self._scope.cancel()


class Portal:
    """Runs async calls in its own thread for a caller that blocks on them."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._ready = threading.Event()
        self._portal: BlockingPortal | None = None
        self._client: AsyncClient | None = None
        self._hosted: Future[Any] | None = None
        self._thread = threading.Thread(target=anyio.run, args=(self._main,), name="matrixdata", daemon=True)
        self._thread.start()
        self._ready.wait()
        _open.add(self)

    async def _main(self) -> None:
        async with BlockingPortal() as portal:
            self._portal = portal
            self._ready.set()
            await portal.sleep_until_stopped()

    def call(self, work: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:  # noqa: ANN401  passed on
        """Run an async function there and return its result here.

        Ctrl-C (KeyboardInterrupt) cancels the call and comes through at once; the client stays usable.

        Raises:
            ForkedClient: this process is a fork of the one that opened the client.
            ClientClosed: the client is closed.
        """
        portal = self._usable()
        if threading.current_thread() is self._thread:
            raise RuntimeError("a blocking call from inside the client's own thread would wait for itself")
        under_way = _Call(partial(work, *arguments, **options))
        try:
            future: Future[T] = portal.start_task_soon(under_way.run)
        except RuntimeError:  # it stopped since we looked
            raise ClientClosed(_CLOSED) from None
        try:
            return future.result()
        except CancelledError:
            raise ClientClosed("the client was closed while this call was under way") from None
        except BaseException:
            if not future.done():
                with contextlib.suppress(RuntimeError):  # it stopped since
                    portal.start_task_soon(under_way.cancel)
            raise

    def check(self) -> None:
        """Raise what `call` would raise for a client that cannot be used any more."""
        self._usable()

    def _usable(self) -> BlockingPortal:
        if os.getpid() != self._pid:
            raise ForkedClient(
                "this client was opened before a fork; call matrixdata.connect() in the new process"
            )
        if self._portal is None or not self._thread.is_alive():
            raise ClientClosed(_CLOSED)
        return self._portal

    def host(self, make: Callable[[], Awaitable[AsyncClient]]) -> AsyncClient:
        """Make a client there and keep it open until `close`."""
        client = self.call(make)
        self._hosted, self._client = self._usable().start_task(client.run)
        return client

    def close(self) -> None:
        """Close the client and end the thread; harmless when repeated, or after a fork."""
        portal = self._portal  # kept here: another thread may be closing it too
        if os.getpid() != self._pid or portal is None:
            return
        if self._client is not None and self._hosted is not None:
            with contextlib.suppress(Exception):  # closing must get through to the thread's end
                self.call(self._client.close)
                self._hosted.result(timeout=10)
        self._portal = None
        with contextlib.suppress(RuntimeError):  # it stopped on its own
            portal.start_task_soon(portal.stop, True)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=10)


_open = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for portal in list(_open):
        portal.close()
