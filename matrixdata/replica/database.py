"""One SQLite file: a single writer whose callers share commits, and readers that never wait for it."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import asynccontextmanager, contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import anyio
import anyio.to_thread

from matrixdata.errors import ClientClosed, MatrixDataError, StoreCorrupt, StoreFull, Unsupported

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

T = TypeVar("T")
# Readers kept open between uses. More are opened when needed: one task may read while it holds a snapshot.
_IDLE = 4


@contextmanager
def mapped_errors(path: Path) -> Iterator[None]:
    """SQLite's errors as ours, with the file's name."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _mapped(error, path) from error


def _mapped(error: sqlite3.DatabaseError, path: Path) -> Exception:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL") or name in {"SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC"}:
        return StoreFull(
            f"{path.name}: {error}; free some disk space. What was not stored was not acknowledged."
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ")):
        return StoreCorrupt(f"{path} is damaged ({error})")
    if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
        return error
    return MatrixDataError(f"{path}: {error} ({name})")


def _is_mistake(error: sqlite3.DatabaseError) -> bool:
    """Whether one statement was wrong, and not the disk or the file."""
    name = getattr(error, "sqlite_errorname", "")
    return isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)) or name == "SQLITE_ERROR"


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
        with self._using, mapped_errors(self._database.path):
            return work(self._connection)

    def close(self) -> None:
        """Let go of the moment."""
        with self._using:
            self._database.give_back(self._connection)


class Database:
    """A SQLite file in WAL mode, owner-only, migrated forward when opened.

    Writes run one at a time on worker threads. While one commit is under way, the callers that arrive
    queue up and then share the next commit: a durable write costs one fsync for all of them.
    """

    def __init__(self, path: Path, *, kind: str, synchronous: Literal["FULL", "NORMAL"]) -> None:
        self.path = path
        self._synchronous = synchronous
        self._pending: list[_Job[Any]] = []
        self._queue = threading.Lock()
        # Both: the first lets tasks queue up without a thread each, the second holds even when asyncio's own
        # cancellation (wait_for, Task.cancel) takes a task away from a commit that its thread goes on with.
        self._turn, self._writing = anyio.Lock(), threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._writer = self._open(kind)

    def __repr__(self) -> str:
        return f"<Database {self.path.name}>"

    # -- opening ----------------------------------------------------------------------------------------
    def _open(self, kind: str) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < (3, 37):
            raise Unsupported(
                "the local store", f"SQLite 3.37 or later; this Python has {sqlite3.sqlite_version}"
            )
        # SQLite gives the WAL and its index the permissions of the main file, so this decides for all three.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600))
        with mapped_errors(self.path):
            connection = self._connect()
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                _migrate(connection, kind, self.path)
            except BaseException:
                connection.close()
                raise
            return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA secure_delete = ON")  # redacted content must leave the file
            connection.execute("PRAGMA temp_store = MEMORY")  # and must not pass through a temporary one
        except BaseException:
            connection.close()
            raise
        return connection

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
            if self._closed:
                for job in batch:
                    job.error, job.done = ClientClosed("the store is closed"), True
            elif batch:
                self._commit_all(batch)

    def _commit_all(self, batch: list[_Job[Any]]) -> None:
        try:
            with mapped_errors(self.path):
                self._writer.execute("BEGIN IMMEDIATE")
                for job in batch:
                    self._run(job)
                self._writer.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  whatever stopped the commit, each caller is told
            for job in batch:
                job.error = job.error or error
        finally:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            for job in batch:
                job.done = True

    async def scrub(self) -> bool:
        """Bring the log into the file and empty it, so that nothing deleted is left in it; False while somebody reads.

        Never waits for readers: one that holds a snapshot for an hour must not hold up a writer.
        """
        return await anyio.to_thread.run_sync(self._scrub)

    def _scrub(self) -> bool:
        with self._writing, mapped_errors(self.path):
            if self._closed:
                return False
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
            if not _is_mistake(error):
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
        with mapped_errors(self.path):
            connection = self.reader()
            try:
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
        if self._closed:
            raise ClientClosed("the store is closed")
        with mapped_errors(self.path):
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
                connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            # BEGIN alone is lazy; the first read is what fixes the moment.
            connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
            return connection

    def give_back(self, connection: sqlite3.Connection) -> None:
        """End a read transaction and keep the connection for the next."""
        connection.rollback()
        if self._closed or len(self._idle) >= _IDLE:
            connection.close()
        else:
            self._idle.append(connection)

    async def aclose(self) -> None:
        """Close every connection; commits under way end first."""
        with anyio.CancelScope(shield=True):
            async with self._turn:
                await anyio.to_thread.run_sync(self._close)

    def _close(self) -> None:
        with self._writing:
            if not self._closed:
                self._closed = True
                while self._idle:
                    self._idle.pop().close()
                self._writer.close()


def _migrate(connection: sqlite3.Connection, kind: str, path: Path) -> None:
    """Bring the file to the newest version, one numbered .sql file a step, each in its own transaction."""
    folder = resources.files("matrixdata.replica") / "migrations"
    steps = sorted(step.name for step in folder.iterdir() if step.name.startswith(f"{kind}_"))
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(steps):
        raise StoreCorrupt(
            f"{path} was written by a newer matrixdata (format {version}, this one knows {len(steps)}); "
            "upgrade matrixdata, or use another store="
        )
    for number, step in enumerate(steps, start=1):
        if number > version:
            script = (folder / step).read_text(encoding="utf-8")
            _apply(connection, script, number)


def _apply(connection: sqlite3.Connection, script: str, number: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have migrated while we waited for the lock.
        if connection.execute("PRAGMA user_version").fetchone()[0] < number:
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _statements(script: str) -> Iterator[str]:
    """Each statement of a script; executescript() cannot be used, for it commits on its own."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
