"""One SQLite file: a single writer whose callers share commits, and readers that never wait for it."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import anyio
import anyio.to_thread

from matrixdata.errors import ClientClosed, MatrixDataError, StoreCorrupt
from matrixdata.replica import files
from matrixdata.replica.failures import Damaged, is_mistake, mapped_errors
from matrixdata.replica.file import StoreFile, gone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from matrixdata.replica.mark import Mark

T = TypeVar("T")
# Readers kept open between uses. More are opened when needed: one task may read while it holds a snapshot.
_IDLE = 4
_NOWHERE = (-1, -1)


class _Job(Generic[T]):
    """One caller's part of a shared commit."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self.work = work
        self.done = False
        self.result: T | None = None
        self.error: Exception | None = None


class Snapshot:
    """A connection that sees one committed moment for as long as it is held, and cannot write."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = database.reader()
        # asyncio's own cancellation leaves a thread at work on the connection; closing waits for its end.
        self._using = threading.Lock()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the connection, on a worker thread."""
        return await anyio.to_thread.run_sync(self._run, work)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._using, self._database.watched(self._connection):
            return work(self._connection)

    def close(self) -> None:
        """Let go of the moment."""
        with self._using:
            self._database.give_back(self._connection)


class Database:
    """A SQLite file in WAL mode, owner-only, migrated forward when opened.

    Writes run one at a time on worker threads. While one commit is under way, the callers that arrive
    queue up and then share the next commit: a durable write costs one fsync for all of them.

    A file that turns out to be damaged raises StoreCorrupt to whoever met that. If it is not precious, the next
    use puts it aside and starts an empty one; also where another process has done so.
    """

    def __init__(
        self,
        path: Path,
        *,
        kind: str,
        synchronous: Literal["FULL", "NORMAL"],
        precious: bool = True,
        in_use: bool = False,
        mark: Mark | None = None,
        connect: Callable[..., Any] = sqlite3.connect,
    ) -> None:
        self.path = path
        self.trouble: Damaged | None = None
        """The last damage met since this was opened, mended or not."""
        self._file = StoreFile(path, kind, synchronous, precious=precious, in_use=in_use, connect=connect)
        self._mark = mark
        self._pending: list[_Job[Any]] = []
        self._queue = threading.Lock()
        # Both: the first lets tasks queue up without a thread each, the second holds even when asyncio's own
        # cancellation (wait_for, Task.cancel) takes a task away from a commit that its thread goes on with.
        self._turn, self._writing = anyio.Lock(), threading.RLock()
        self._idle: list[sqlite3.Connection] = []
        self._readers: set[int] = set()  # those of the present file, by id()
        self._opened: list[Callable[[sqlite3.Connection], None]] = []
        self._damage: Damaged | None = None
        self._closed = False
        self._open()

    def __repr__(self) -> str:
        return f"<Database {self.path.name}>"

    # -- the file ---------------------------------------------------------------------------------------
    def on_open(self, listener: Callable[[sqlite3.Connection], None]) -> None:
        """Call `listener` with a connection now, and again whenever another file takes this one's place."""
        with mapped_errors(self.path):
            listener(self._writer)
        self._opened.append(listener)

    def at_once(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` where there is no event loop yet."""
        with self._writing, self.watched():
            return work(self._writer)

    @contextmanager
    def watched(self, connection: sqlite3.Connection | None = None) -> Iterator[None]:
        """Around every use of a reader's connection, or of the writer's: SQLite's errors as ours, damage noted."""
        try:
            with mapped_errors(self.path):
                yield
        except Damaged as damage:
            if (
                connection is None or id(connection) in self._readers
            ):  # else it is of a file put aside already
                self._damage = self.trouble = damage
                if not self._file.precious:
                    with suppress(
                        MatrixDataError, sqlite3.Error, OSError
                    ):  # it is tried again before the next use
                        self._current()
            advice = (
                "connect again, which saves what can be read of it"
                if self._file.precious
                else "it is put aside and rebuilt from the server; ask again"
            )
            raise StoreCorrupt(f"{damage}; {advice}", path=str(self.path)) from damage

    def _open(self) -> None:
        self._writer, damage = self._file.open()
        self._id = files.file_id(self.path)
        self._damage, self.trouble = None, damage or self.trouble

    def _current(self) -> None:
        """Before every use: go on with another file where this one was damaged, or put aside by another process."""
        if self._closed:
            raise ClientClosed("the store is closed")
        if self._damage is None and files.file_id(self.path) == self._id:
            return
        with self._writing:
            now = files.file_id(self.path)
            if not self._file.precious:
                if self._damage is not None or now != self._id:
                    self._reopen()
                return
            if now is None:
                raise gone(self.path)
            if now != self._id:
                self._reopen()
            self._damage = None  # what is not hit can still be used; the next opening saves what can be read

    def _reopen(self) -> None:
        found, self._id = self._id, _NOWHERE  # so that a failure in here is tried again
        self._readers.clear()
        while self._idle:
            self._idle.pop().close()
        self._writer.close()
        if self._damage is not None and not self._file.precious:
            self._file.replace(self._damage, found)
        self._open()
        for listener in self._opened:
            listener(self._writer)

    # -- writing ----------------------------------------------------------------------------------------
    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction and return its result once that is committed.

        Callers share commits, each inside a savepoint of its own: one that raises is rolled back alone.
        """
        job = _Job(work)
        with self._queue:
            self._pending.append(job)
        try:
            async with self._turn:
                if not job.done:
                    await anyio.to_thread.run_sync(self._commit)
        except BaseException:
            with self._queue:
                if job in self._pending:  # cancelled while queued: nothing of it may be written later
                    self._pending.remove(job)
            raise
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]  # done without an error, so it holds work's T

    def _commit(self) -> None:
        """Commit what is queued now. The jobs are taken here, so that no cancellation can lose any of them."""
        with self._writing:
            with self._queue:
                batch, self._pending = self._pending, []
            if not batch:
                return
            try:
                with self.watched():
                    self._current()
                    self._commit_all(batch)
            except Exception as error:  # noqa: BLE001  whatever stopped the commit, each caller is told
                for job in batch:
                    job.error = job.error or error
            finally:
                for job in batch:
                    job.done = True

    def _commit_all(self, batch: list[_Job[Any]]) -> None:
        before = self._writer.total_changes
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._run(job)
            if self._mark is not None and self._writer.total_changes != before:
                self._mark.count(self._writer)
            self._writer.execute("COMMIT")
        except BaseException:
            self._give_up()
            raise
        if self._mark is not None:
            self._mark.save()

    def _give_up(self) -> None:
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except sqlite3.Error:
            self._id = _NOWHERE  # open it anew before the next use

    async def scrub(self) -> bool:
        """Bring the log into the file and empty it, so that nothing deleted is left in it; False while somebody reads.

        Never waits for readers: one that holds a snapshot for an hour must not hold up a writer.
        """
        return await anyio.to_thread.run_sync(self._scrub)

    def _scrub(self) -> bool:
        with self._writing, self.watched():
            if self._closed:
                return False
            self._current()
            patience = self._writer.execute("PRAGMA busy_timeout").fetchone()[0]
            self._writer.execute("PRAGMA busy_timeout = 0")
            try:
                busy = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                self._writer.execute(f"PRAGMA busy_timeout = {patience}")
            return not busy

    def _run(self, job: _Job[Any]) -> None:
        self._writer.execute("SAVEPOINT job")
        try:
            job.result = job.work(self._writer)
        except sqlite3.DatabaseError as error:
            if not is_mistake(error):
                raise  # the disk or the file failed: the whole commit is off
            job.error = error
            self._writer.execute("ROLLBACK TO job")
        except Exception as error:  # noqa: BLE001  it is handed to the caller it belongs to
            job.error = error
            self._writer.execute("ROLLBACK TO job")
        self._writer.execute("RELEASE job")

    # -- reading ----------------------------------------------------------------------------------------
    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a connection that sees one committed moment and cannot write."""
        return await anyio.to_thread.run_sync(self._read, work)

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self.reader()
        try:
            with self.watched(connection):
                return work(connection)
        finally:
            self.give_back(connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """One committed moment, for reading in pages, for as long as it is held."""
        snapshot = await anyio.to_thread.run_sync(Snapshot, self)
        try:
            yield snapshot
        finally:
            snapshot.close()

    def reader(self) -> sqlite3.Connection:
        """A connection in a read transaction, to be given back."""
        with self.watched():
            self._current()
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._file.reader()
                self._readers.add(id(connection))
            try:
                connection.execute("BEGIN")
                # BEGIN alone is lazy; the first read is what fixes the moment.
                connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
            except BaseException:
                self._discard(connection)
                raise
            return connection

    def give_back(self, connection: sqlite3.Connection) -> None:
        """End a read transaction and keep the connection for the next."""
        with suppress(sqlite3.Error):
            connection.rollback()
        if self._closed or id(connection) not in self._readers or len(self._idle) >= _IDLE:
            self._discard(connection)
        else:
            self._idle.append(connection)

    def _discard(self, connection: sqlite3.Connection) -> None:
        self._readers.discard(id(connection))
        connection.close()

    async def aclose(self) -> None:
        """Close every connection; commits under way end first."""
        with anyio.CancelScope(shield=True):
            async with self._turn:
                await anyio.to_thread.run_sync(self.close)

    def close(self) -> None:
        """The same, for those who have no event loop."""
        with self._writing:
            if not self._closed:
                self._closed = True
                while self._idle:
                    self._idle.pop().close()
                self._writer.close()
