"""The blocking faces of client and collection: each method hands its arguments to the async core.

One line a method; a test compares every signature with the async one's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

from matrixdata.collection import AsyncCollection, AsyncInvite, HistoryEvent, Member, Role, StateEvent
from matrixdata.collection.bulk import OnError
from matrixdata.collection.directory import INVITE_COLUMNS
from matrixdata.collection.progress import Progress
from matrixdata.collection.quarantine import InvalidRecords
from matrixdata.collection.query_spec import Moment, OnIncomplete
from matrixdata.connect.keys import Keys
from matrixdata.connect.progress import QueryBar, publishing_bar, syncing_bar
from matrixdata.connect.publisher import Publisher
from matrixdata.connect.reading import Outbox, Query, Receipt, Table
from matrixdata.connect.subscribing import Subscription
from matrixdata.model import JSONObject, Position
from matrixdata.model.listing import Listing
from matrixdata.receiving import Overflow, Start, SyncProgress

if TYPE_CHECKING:
    from types import TracebackType

    from matrixdata.client import AsyncClient
    from matrixdata.collection import CollectionInfo, PublishReport
    from matrixdata.collection.status import Status
    from matrixdata.connect.portal import Portal
    from matrixdata.connect.sql import SqlResult
    from matrixdata.encryption.port import Policy
    from matrixdata.protocol.time import TimeUnit
    from matrixdata.publishing import Milestone


class Collection:
    """A room as a collection of JSON records; see AsyncCollection."""

    def __init__(self, portal: Portal, collection: AsyncCollection) -> None:
        self._portal = portal
        self._collection = collection

    def __repr__(self) -> str:
        return repr(self._collection)

    def _repr_html_(self) -> str:
        """What it is and what its last query lacked, for notebooks."""
        return self._collection._repr_html_()

    @property
    def room_id(self) -> str:
        """Matrix's id of the room."""
        return self._collection.room_id

    @property
    def name(self) -> str:
        """The name this user bound, else the name that its owner gave it, else the room id."""
        return self._collection.name

    @property
    def encrypted(self) -> bool:
        """Whether the room is end-to-end encrypted."""
        return self._collection.encrypted

    @property
    def trust(self) -> Policy | None:
        """Whose devices get keys and are read; None where nothing is encrypted."""
        return self._collection.trust

    def set_trust(self, trust: Policy, *, members: Sequence[str] | None = None) -> None:
        """Decide who gets keys, and whose records are taken; see AsyncCollection.set_trust."""
        self._portal.call(self._collection.set_trust, trust, members=members)

    @property
    def schema(self) -> JSONObject | bool | None:
        """The JSON Schema that new records are checked against; None without one."""
        return self._collection.schema

    def invite(self, user_id: str, *, role: Role = "writer") -> None:
        """Invite a user, as "reader", "writer" or "owner"."""
        self._portal.call(self._collection.invite, user_id, role=role)

    def members(self) -> Table[Member]:
        """Who is here, invited or gone, with their roles."""
        return Table(self._portal, self._collection.members())

    def leave(self) -> None:
        """Leave the room. What was received is kept and can still be queried; the name is freed."""
        self._portal.call(self._collection.leave)

    def follow_upgrade(self) -> Collection:
        """The collection in the room that replaced this one; see AsyncCollection.follow_upgrade."""
        return Collection(self._portal, self._portal.call(self._collection.follow_upgrade))

    def publish(
        self,
        record: Mapping[str, object],
        *,
        wait: Milestone = "sent",
        timeout: float = 10.0,
        uid: str | None = None,
    ) -> Receipt:
        """Check a record, store it durably, and send it; see AsyncCollection.publish."""
        receipt = self._portal.call(self._collection.publish, record, wait=wait, timeout=timeout, uid=uid)
        return Receipt(self._portal, receipt)

    def publish_many(
        self,
        rows: object,
        *,
        on_error: OnError = "collect",
        wait: Milestone = "sent",
        timeout: float = 10.0,
        job: str | None = None,
        batch: bool | None = None,
        progress: Progress[int, int] = None,
    ) -> PublishReport:
        """Publish many records; see AsyncCollection.publish_many."""
        with publishing_bar(progress) as told:
            return self._portal.call(
                self._collection.publish_many,
                rows,
                on_error=on_error,
                wait=wait,
                timeout=timeout,
                job=job,
                batch=batch,
                progress=told,
            )

    def publisher(
        self, *, linger: float = 1.0, size: int = 250, timeout: float = 10.0, batch: bool = True
    ) -> Publisher:
        """For a stream of single records, which leave together; see AsyncCollection.publisher."""
        opened = self._collection.publisher(linger=linger, size=size, timeout=timeout, batch=batch)
        return Publisher(self._portal, opened)

    def subscribe(
        self,
        *,
        start: Start = "new",
        cursor: str | None = None,
        buffer: int = 500,
        overflow: Overflow = "block",
    ) -> Subscription:
        """Records as they are committed; see AsyncCollection.subscribe."""
        opened = self._collection.subscribe(start=start, cursor=cursor, buffer=buffer, overflow=overflow)
        return Subscription(self._portal, opened)

    def query(
        self,
        where: Mapping[str | tuple[str, ...], object] | str | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        columns: Sequence[str] | None = None,
        order: str | None = None,
        limit: int | None = None,
        as_of: Position | None = None,
        on_incomplete: OnIncomplete = "warn",
        timeout: float = 10.0,
        progress: Progress[SyncProgress] = None,
    ) -> Query:
        """A query; it runs when its rows, a frame or a file are asked for. See AsyncCollection.query."""
        bar = QueryBar(progress)
        query = self._collection.query(
            where,
            since=since,
            until=until,
            columns=columns,
            order=order,
            limit=limit,
            as_of=as_of,
            on_incomplete=on_incomplete,
            timeout=timeout,
            progress=bar.told,
        )
        return Query(self._portal, query, bar)

    def history(self, *, timeout: float = 10.0) -> Table[HistoryEvent]:
        """Every event of the room that the replica holds, foreign ones too, in the timeline's order."""
        return Table(self._portal, self._collection.history(timeout=timeout))

    def state(self, *, at: str | None = None) -> Table[StateEvent]:
        """The room's current state, or as of the event `at`; see AsyncCollection.state."""
        return Table(self._portal, self._collection.state(at=at))

    def sync(self, *, since: datetime | None = None, progress: Progress[SyncProgress] = None) -> None:
        """Complete the replica from the server now: every gap filled, back to `since` or to the start."""
        with syncing_bar(progress) as told:
            self._portal.call(self._collection.sync, since=since, progress=told)

    def invalid(self, *, timeout: float = 10.0) -> InvalidRecords:
        """Records that arrived and are quarantined, with every reason; a list with `.to_pandas()`."""
        return self._portal.call(self._collection.invalid, timeout=timeout)


class Invite:
    """An invite to a room; see AsyncInvite."""

    def __init__(self, portal: Portal, invite: AsyncInvite) -> None:
        self._portal = portal
        self._invite = invite

    def __repr__(self) -> str:
        return repr(self._invite)

    def _repr_html_(self) -> str:
        """Who invites to what, for notebooks."""
        return self._invite._repr_html_()

    @property
    def room_id(self) -> str:
        """Matrix's id of the room."""
        return self._invite.room_id

    @property
    def claimed_name(self) -> str | None:
        """The name that the inviter chose; it binds nothing."""
        return self._invite.claimed_name

    @property
    def inviter(self) -> str:
        """Who sent the invite."""
        return self._invite.inviter

    def accept(self, *, name: str | None = None) -> Collection:
        """Join; with `name`, also bind that name to the room."""
        return Collection(self._portal, self._portal.call(self._invite.accept, name=name))

    def reject(self) -> None:
        """Decline the invite."""
        self._portal.call(self._invite.reject)


class Client:
    """One logged-in account, for code that is not async: works in scripts, threads and notebooks.

    Close it with `close()`, or use it as a context manager; at interpreter exit it is closed for you.
    """

    def __init__(self, portal: Portal, client: AsyncClient) -> None:
        self._portal = portal
        self._client = client

    def __repr__(self) -> str:
        return repr(self._client)

    def _repr_html_(self) -> str:
        """Who, where, and how it is doing, for notebooks."""
        return self._client._repr_html_()

    def __reduce__(self) -> NoReturn:
        """Clients hold threads and sockets: they cannot be pickled or copied."""
        raise TypeError(
            "a Client cannot be pickled or copied; call matrixdata.connect(...) where you need another"
        )

    def __enter__(self) -> Client:
        """Use the client in a with block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Stop syncing and sending, and close the store. What is queued is sent by the next client."""
        self._portal.close()

    @property
    def user_id(self) -> str:
        """The Matrix id of the logged-in user."""
        return self._client.user_id

    @property
    def homeserver(self) -> str:
        """The homeserver's address."""
        return self._client.homeserver

    @property
    def profile(self) -> str:
        """The name of this login on this machine: `connect(profile=…)` opens it again."""
        return self._client.profile

    @property
    def outbox(self) -> Outbox:
        """What was accepted and has not been seen to arrive: list(), retry(uid), cancel(uid)."""
        return Outbox(self._portal, self._client.outbox)

    @property
    def keys(self) -> Keys:
        """Keys for end-to-end encryption: status(), recovery, backup, verification, your devices."""
        return Keys(self._portal, self._client.keys)

    def status(self) -> Status:
        """How this client is doing: lag, outbox, what is missing, rate limit."""
        return self._portal.call(self._client.status)

    def create_collection(
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
    ) -> Collection:
        """Make a collection; see AsyncClient.create_collection."""
        collection = self._portal.call(
            self._client.create_collection,
            name,
            schema=schema,
            time=time,
            time_unit=time_unit,
            encrypted=encrypted,
            trust=trust,
            members=members,
            public=public,
            invite=invite,
            exist_ok=exist_ok,
        )
        return Collection(self._portal, collection)

    def collection(self, name: str, *, trust: Policy | None = None) -> Collection:
        """Open a collection: a name you bound, #alias:server, or !room_id; the last two join if they can."""
        return Collection(self._portal, self._portal.call(self._client.collection, name, trust=trust))

    def collections(self) -> list[CollectionInfo]:
        """Your collections: names you bound, and rooms you are in that say they are one."""
        return self._portal.call(self._client.collections)

    def sql(self, query: str, *, on_incomplete: OnIncomplete = "warn", timeout: float = 10.0) -> SqlResult:
        """One SELECT over your collections, by their names; see AsyncClient.sql."""
        from matrixdata.connect.sql import SqlResult  # noqa: PLC0415  only SQL needs DuckDB

        return SqlResult(self._portal, self._client.sql(query, on_incomplete=on_incomplete, timeout=timeout))

    def invites(self) -> list[Invite]:
        """Invites waiting for you."""
        invites = self._portal.call(self._client.invites)
        return Listing(
            (Invite(self._portal, invite) for invite in invites), title="invite", columns=INVITE_COLUMNS
        )

    def logout(self) -> None:
        """End this device's session on the server and close the client. Replica and outbox stay."""
        self._portal.call(self._client.logout)
        self._portal.close()
