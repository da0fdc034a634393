"""AsyncClient: what a user does with one account, and its life. It checks and delegates."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, Protocol

import anyio
import anyio.abc

from matrixdata.client.composition import Composition, Environment
from matrixdata.collection import (
    AsyncCollection,
    AsyncInvite,
    AsyncOutbox,
    CollectionInfo,
    checked_creation,
)
from matrixdata.collection.status import Status, client_html, measured, problem_of
from matrixdata.collection.trust import members_trusted
from matrixdata.errors import ClientClosed, ForkedClient, LoggedOut, MatrixDataError
from matrixdata.model.problem import safe_text
from matrixdata.model.unlock import Unlock
from matrixdata.protocol import requests
from matrixdata.receiving import Feed
from matrixdata.transport.caller import Caller

if TYPE_CHECKING:
    from types import TracebackType

    from matrixdata.collection.query_spec import OnIncomplete
    from matrixdata.collection.sql import AsyncSqlResult
    from matrixdata.encryption.port import Policy
    from matrixdata.identity.keys import AsyncKeys
    from matrixdata.model.session import Session
    from matrixdata.protocol.time import TimeUnit
    from matrixdata.replica.store import Store
    from matrixdata.transport.session import SessionTransport

log = logging.getLogger("matrixdata")


class Leaving(AbstractAsyncContextManager[None], Protocol):
    """What there is to do around the end of a client, for one that leaves nothing behind."""

    async def drained(self) -> None:
        """Wait a little for the outbox, while the client still works."""
        ...


class AsyncClient:
    """One logged-in account. Use it in an `async with` block; `connect_async` makes it."""

    def __init__(
        self,
        store: Store,
        transport: SessionTransport,
        *,
        environment: Environment | None = None,
        leaving: Leaving | None = None,
        unlock: Unlock | None = None,
    ) -> None:
        self._store = store
        self._transport = transport
        self._environment = environment or Environment()
        self._leaving = leaving
        self._unlock = unlock or Unlock()
        self._pid = os.getpid()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._closed = False
        self._feed = Feed()
        self._caller = Caller(transport, chance=self._environment.chance)

    @property
    def _session(self) -> Session:
        return self._transport.session

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return safe_text(f"<Client {self._session.user_id} at {self._session.homeserver}, {state}>")

    def _repr_html_(self) -> str:
        """Who, where, and how it is doing, for notebooks; asks nothing."""
        loop = self._loop if self._tasks is not None else None
        problem = problem_of(self._transport.logged_out, loop, self._caller)
        return client_html(self._session, self.profile, loop, problem, closed=self._closed)

    def __reduce__(self) -> NoReturn:
        """Clients hold sockets and locks: they cannot be pickled or copied."""
        raise TypeError(
            "a Client cannot be pickled or copied; call matrixdata.connect(...) where you need another"
        )

    # -- life -------------------------------------------------------------------------------------------
    async def __aenter__(self) -> AsyncClient:
        """Start the background work. Needs no server: offline, everything local works."""
        try:
            self._compose()
        except BaseException:
            await self._release()
            raise
        self._closing, self._work = anyio.Event(), anyio.CancelScope()
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        self._tasks = tasks
        tasks.start_soon(self._background)
        try:
            await self._trust.settle()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the background work and close the store. What is queued stays queued for the next client."""
        await self.close()
        tasks, self._tasks = self._tasks, None
        try:
            if tasks is not None:
                # Not the error of the body: the task group would wrap it, and `except RecordInvalid` around the
                # with block would no longer catch it.
                await tasks.__aexit__(None, None, None)
        finally:
            await self._release()

    async def _release(self) -> None:
        with anyio.CancelScope(shield=True):
            async with self._leaving or nullcontext():
                await self._transport.aclose()
                await self._store.aclose()

    async def _background(self) -> None:
        # A scope of its own: cancelling the task group would cancel the body of the user's with block too.
        with self._work:
            async with anyio.create_task_group() as tasks:
                for work in self._works:
                    tasks.start_soon(self._guarded, work)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """The edge of a background task: a bug in it is reported and ends what waits for it, not the user's code."""
        try:
            await work()
        except Exception as error:
            log.exception("background work failed; please report this")
            self._loop.fail(
                MatrixDataError(f"background work failed: {error!r}; see the log, and please report it")
            )

    async def close(self) -> None:
        """Stop using this client: later calls raise ClientClosed. Leaving its `async with` block does the rest."""
        closed_before, self._closed = self._closed, True
        if self._leaving is not None and not closed_before:
            await self._leaving.drained()
        self._feed.close()
        self._work.cancel()
        self._closing.set()

    async def run(self, opened: Callable[[], None]) -> None:
        """Be open until `close()`, and say when it is: for those who host the client in a task of its own."""
        async with self:
            opened()
            await self._closing.wait()

    def _compose(self) -> None:
        parts = Composition(
            self._store,
            self._transport,
            self._environment,
            caller=self._caller,
            feed=self._feed,
            check=self._check,
        )
        self._loop, self._services, self._directory = parts.loop, parts.services, parts.directory
        self._trust = parts.trust(self._caller, self._unlock)
        self._works = (
            parts.sender.run,
            parts.loop.run,
            parts.backfill.run,
            parts.courier.run,
            self._trust.upkeep.run,
            parts.past.run,
            parts.services.acceptance.held.run,
        )

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedClient(
                "this client was opened before a fork; call matrixdata.connect() in the new process"
            )
        if self._closed or self._tasks is None:
            raise ClientClosed("this client is closed; call matrixdata.connect() again")

    # -- what it is -------------------------------------------------------------------------------------
    @property
    def user_id(self) -> str:
        """The Matrix id of the logged-in user, such as @ada:example.org."""
        return self._session.user_id

    @property
    def homeserver(self) -> str:
        """The homeserver's address."""
        return self._session.homeserver

    @property
    def profile(self) -> str:
        """The name of this login on this machine: `connect(profile=…)` opens it again."""
        return self._store.directory.name

    @property
    def outbox(self) -> AsyncOutbox:
        """What was accepted and has not been seen to arrive: list(), retry(uid), cancel(uid)."""
        self._check()
        return AsyncOutbox(self._services)

    @property
    def keys(self) -> AsyncKeys:
        """Keys for end-to-end encryption: status(), recovery, backup, verification, your devices."""
        self._check()
        return self._trust.keys

    async def status(self) -> Status:
        """How this client is doing: lag, outbox, what is missing, rate limit. Asks nothing of the server."""
        self._check()
        problem = problem_of(self._transport.logged_out, self._loop, self._caller)
        measures = await measured(self._session, self._services, self._loop, problem)
        return replace(measures, store=self._store.trouble, keys_problem=self._trust.problem)

    # -- collections ------------------------------------------------------------------------------------
    async def create_collection(
        self,
        name: str,
        *,
        schema: Mapping[str, object] | str | None = None,
        time: str | Sequence[str] | None = None,
        time_unit: TimeUnit = "iso",
        encrypted: bool = True,
        trust: Policy = "cross-signed",
        members: Sequence[str] | None = None,
        public: bool = False,
        invite: Sequence[str] = (),
        exist_ok: bool = False,
    ) -> AsyncCollection:
        """Make a collection: a private room of your own, with a schema in it, under a name that is yours.

        Args:
            name: what you call it; bound to you on all your devices, means nothing to others.
            schema: a JSON Schema (draft 2020-12, the profile in docs/schema-profile.md) that every record must
                satisfy; a dict or its JSON text.
            time: the key (or dotted path) of the records' own time, by which since= and until= then select.
            time_unit: how it is written: "iso" for RFC 3339 text with an offset, or numbers of "s", "ms", "us"
                or "ns" since 1970-01-01T00:00:00Z.
            encrypted: records are encrypted end to end, so that no server can read them. Names, schema and settings
                are not; docs/encryption.md lists what stays visible. It cannot be undone.
            trust: whose devices get the keys and are read; as in `AsyncCollection.set_trust`.
            members: user ids that alone get keys and are read; likewise.
            public: anyone who knows the room id can join and read, which needs encrypted=False; writing is for owners
                and invited writers.
            invite: user ids to invite at once, as writers.
            exist_ok: return the collection if you already have one of that name.

        Raises:
            SchemaError: the schema is outside the profile, with every reason.
            Conflict: the name is taken (or, with exist_ok, has another schema).
        """
        self._check()
        creation = checked_creation(
            name,
            schema=schema,
            time=time,
            time_unit=time_unit,
            encrypted=encrypted,
            trust=trust,
            members=members,
            public=public,
            invite=invite,
        )
        return await self._directory.create(creation, exist_ok=exist_ok)

    async def collection(self, name: str, *, trust: Policy | None = None) -> AsyncCollection:
        """Open a collection: a name you bound, #alias:server, or !room_id; the last two join if they can.

        Args:
            name: of the collection.
            trust: sets whose devices get keys and are read, as `AsyncCollection.set_trust` does; None leaves it.

        Raises:
            NotFound: you bound no such name, and the message lists those you have; or no room has that alias.
            Rejected: you may not join that room.
        """
        self._check()
        collection = await self._directory.open(name)
        if trust is not None:
            members = await members_trusted(self._services, collection.room_id)  # who was chosen stays chosen
            await collection.set_trust(trust, members=members)
        return collection

    async def collections(self) -> list[CollectionInfo]:
        """Your collections: names you bound, and rooms you are in that say they are one."""
        self._check()
        return await self._directory.collections()

    def sql(
        self, query: str, *, on_incomplete: OnIncomplete = "warn", timeout: float = 10.0
    ) -> AsyncSqlResult:
        """One SELECT over your collections, by their names; it runs when its result is asked for (extra: data).

        Args:
            query: DuckDB's SQL; it can read the collections it names and nothing else, and write nothing.
            on_incomplete: "warn", "raise" or "ignore" when rows of a collection are missing.
            timeout: seconds to wait, for all collections together, for what the server has now; 0 reads what is here.

        Raises:
            SqlError: it is no single SELECT.
            MissingExtra: DuckDB is not installed.
        """
        from matrixdata.collection.sql import AsyncSqlResult  # noqa: PLC0415  only SQL needs DuckDB

        self._check()
        check = self._services.check_reading
        return AsyncSqlResult(
            query, self._directory.named, check=check, on_incomplete=on_incomplete, timeout=timeout
        )

    async def invites(self) -> list[AsyncInvite]:
        """Invites waiting for you; each has room_id, claimed_name, inviter, accept(name=…) and reject()."""
        self._check()
        return await self._directory.invites()

    async def logout(self) -> None:
        """End this device's session on the server. Replica and outbox stay; connect again to go on."""
        self._check()
        with suppress(LoggedOut):
            await self._caller.call(requests.logout(), patience=10)
        await self._store.account.forget_token()
        await self.close()
