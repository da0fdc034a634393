"""One thread with one event loop, in which a blocking client's async core lives.

The thread is a daemon and closed at interpreter exit by us: a plain executor thread would be joined first,
and a program that forgot close() would hang at its end.

anyio's BlockingPortal waits on a Condition, which an interrupt can leave locked for ever or unlocked twice; here
the caller waits on a plain lock, which an interrupt does not harm.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

from matrixdata.errors import ClientClosed, ForkedClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from matrixdata.client import AsyncClient

log = logging.getLogger("matrixdata")
T = TypeVar("T")
_CLOSED = "this client is closed; call matrixdata.connect() again"
_CLOSED_MEANWHILE = "the client was closed while this call was under way"
# Seconds after which a caller that waits looks whether the thread is still there.
_LOOK = 10.0
_open: weakref.WeakSet[Portal]


class Call(Generic[T]):
    """An async call on its way to the client's thread and back; it can be given up, and has then `ended` soon."""

    def __init__(self, work: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> None:  # noqa: ANN401  passed on
        self._work = partial(work, *arguments, **options)
        self._scope: anyio.CancelScope | None = None
        self._begun = self._given_up = self.ended = False
        self._value: T
        self._error: BaseException | None = ClientClosed(_CLOSED_MEANWHILE)
        self._under_way = threading.Lock()
        self._under_way.acquire()

    # -- in the client's thread -------------------------------------------------------------------------
    async def run(self) -> None:
        """Do the work and keep what comes of it."""
        self._begun = True  # before it is looked whether it was given up: see join
        try:
            with anyio.CancelScope() as self._scope:
                if not self._given_up:
                    self._value = await self._work()
                    self._error = None
        except anyio.get_cancelled_exc_class():  # the portal stops
            raise
        except BaseException as error:  # the caller's, whatever it is
            self._error = error
            if not isinstance(error, Exception):
                raise
        finally:
            self.end()

    def end(self) -> None:
        """It does nothing any more; nor will it, if it was not begun."""
        self.ended = True
        self._under_way.release()

    def cancel(self) -> None:
        """End it soon."""
        if self._scope is not None:
            self._scope.cancel()

    # -- in the caller's --------------------------------------------------------------------------------
    def give_up(self) -> None:
        """Let it not begin, if it has not; `cancel` ends one that has."""
        self._given_up = True

    def join(self, running: Callable[[], bool]) -> None:
        """Wait until it does nothing any more: it ended, it was given up before it began, or nothing is running."""
        if not self._begun and self._given_up:
            return
        while not self.ended:  # not the lock alone: an interrupt may come when it was just taken
            if not self._under_way.acquire(timeout=_LOOK) and not running():
                return

    def result(self) -> T:
        """What came of it, once it ended."""
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            raise error
        finally:
            del error, self  # its traceback would keep itself and all that stands in its frames


class Portal:
    """Runs async calls in its own thread for a caller that blocks on them."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: AsyncClient | None = None
        self._running = True
        self._thread = threading.Thread(target=self._run, name="matrixdata", daemon=True)
        self._thread.start()
        self._ready.wait()
        _open.add(self)

    def _run(self) -> None:
        try:
            anyio.run(self._main)
        finally:
            self._running = False

    def _is_running(self) -> bool:
        # Not Thread.is_alive: an interrupt in it makes Python 3.11 believe that the thread has ended.
        return self._running

    async def _main(self) -> None:
        self._asked: asyncio.Queue[Call[Any] | None] = asyncio.Queue()
        self._left = anyio.Event()
        async with anyio.create_task_group() as self._tasks:
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            while (call := await self._asked.get()) is not None:
                self._tasks.start_soon(call.run)
            self._tasks.cancel_scope.cancel()
        while not self._asked.empty():  # too late to be begun
            if (late := self._asked.get_nowait()) is not None:
                late.end()

    def call(self, work: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:  # noqa: ANN401  passed on
        """Run an async function there and return its result here.

        Ctrl-C (KeyboardInterrupt) cancels the call and comes through at once; the client stays usable.

        Raises:
            ForkedClient: this process is a fork of the one that opened the client.
            ClientClosed: the client is closed.
        """
        return self.run(Call(work, *arguments, **options))

    def run(self, call: Call[T]) -> T:
        """Run a call that its caller keeps, so as to drop it later; see `call`."""
        loop = self._usable()
        if threading.current_thread() is self._thread:
            raise RuntimeError("a blocking call from inside the client's own thread would wait for itself")
        try:
            self._tell(loop, self._asked.put_nowait, call)
            call.join(self._is_running)
        except BaseException:
            self._give_up(loop, call)
            raise
        return call.result()

    def drop(self, call: Call[Any]) -> None:
        """See to it that a call does nothing any more, wherever an interrupt has left it."""
        self._give_up(self._usable(), call)
        call.join(self._is_running)

    def check(self) -> None:
        """Raise what `call` would raise for a client that cannot be used any more."""
        self._usable()

    def _give_up(self, loop: asyncio.AbstractEventLoop, call: Call[Any]) -> None:
        call.give_up()
        if not call.ended:
            with contextlib.suppress(ClientClosed):
                self._tell(loop, call.cancel)

    def _tell(self, loop: asyncio.AbstractEventLoop, do: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401  passed on
        try:
            loop.call_soon_threadsafe(do, *arguments)
        except RuntimeError:  # it stopped since we looked
            raise ClientClosed(_CLOSED) from None

    def _usable(self) -> asyncio.AbstractEventLoop:
        if os.getpid() != self._pid:
            raise ForkedClient(
                "this client was opened before a fork; call matrixdata.connect() in the new process"
            )
        if self._loop is None or not self._running:
            raise ClientClosed(_CLOSED)
        return self._loop

    # -- the client -------------------------------------------------------------------------------------
    def host(self, make: Callable[[], Awaitable[AsyncClient]]) -> AsyncClient:
        """Make a client there and keep it open until `close`."""
        self._client = client = self.call(self._host, make)
        return client

    async def _host(self, make: Callable[[], Awaitable[AsyncClient]]) -> AsyncClient:
        client = await make()
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks.start_soon(self._keep, client, opened)
        await opened
        return client

    async def _keep(self, client: AsyncClient, opened: asyncio.Future[None]) -> None:
        # Not with anyio's TaskStatus: what that leaves in an error's traceback cannot be shown outside of a loop.
        try:
            await client.run(lambda: None if opened.done() else opened.set_result(None))
        except Exception as error:
            if not opened.done():
                opened.set_exception(error)
            elif not opened.cancelled():
                log.exception("closing the client failed")
        finally:
            self._left.set()

    async def _leave(self, client: AsyncClient) -> None:
        await client.close()
        with anyio.fail_after(10):
            await self._left.wait()

    def close(self) -> None:
        """Close the client and end the thread; harmless when repeated, or after a fork."""
        loop = self._loop  # kept here: another thread may be closing it too
        if os.getpid() != self._pid or loop is None:
            return
        if self._client is not None:
            with contextlib.suppress(Exception):  # closing must get through to the thread's end
                self.call(self._leave, self._client)
        self._loop = None
        with contextlib.suppress(ClientClosed):  # it stopped on its own
            self._tell(loop, self._asked.put_nowait, None)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=10)


_open = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for portal in list(_open):
        portal.close()
