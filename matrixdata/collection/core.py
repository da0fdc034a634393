"""AsyncCollection: what a user does with one collection. It checks arguments and delegates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from matrixdata.collection.bulk import OnError
from matrixdata.collection.display import collection_html
from matrixdata.collection.leaving import leave_room
from matrixdata.collection.past import complete, history_events, quarantined
from matrixdata.collection.progress import Progress, callback_of
from matrixdata.collection.publisher import AsyncPublisher
from matrixdata.collection.quarantine import InvalidRecords
from matrixdata.collection.query import AsyncQuery
from matrixdata.collection.query_spec import Moment, OnIncomplete, checked_query
from matrixdata.collection.roles import Role
from matrixdata.collection.room_state import invite_as, members_of, state_events
from matrixdata.collection.tables import AsyncTable, HistoryEvent, Member, StateEvent
from matrixdata.collection.trust import set_trust
from matrixdata.collection.writing import publish_one, publish_rows
from matrixdata.errors import Unsupported
from matrixdata.model import JSONObject, Position
from matrixdata.model.problem import safe_text
from matrixdata.receiving import AsyncSubscription, Overflow, Start, SyncProgress, Wanted

if TYPE_CHECKING:
    from matrixdata.collection.ports import Services
    from matrixdata.collection.report import PublishReport
    from matrixdata.encryption.port import Policy
    from matrixdata.publishing import AsyncReceipt, Milestone
    from matrixdata.replica.rules import Rules


class AsyncCollection:
    """A room as a collection of JSON records. Made by `client.create_collection` and `client.collection`."""

    def __init__(
        self,
        services: Services,
        room_id: str,
        *,
        name: str | None,
        rules: Rules,
        trust: Policy | None = None,
    ) -> None:
        self._services = services
        self._room_id = room_id
        self._name = name
        self._rules = rules
        self._trust = trust  # None: the room is not encrypted
        self._last: AsyncQuery | None = None  # for display

    def __repr__(self) -> str:
        return f"<Collection {self.name!r} {safe_text(self._room_id)}>"

    def _repr_html_(self) -> str:
        """What it is and what its last query lacked, for notebooks; everything is escaped, nothing is asked."""
        return collection_html(
            name=self.name,
            room_id=self._room_id,
            encrypted=self.encrypted,
            schema=self.schema,
            found=self._last._completeness if self._last else None,
        )

    # -- what it is -------------------------------------------------------------------------------------
    @property
    def room_id(self) -> str:
        """Matrix's id of the room."""
        return self._room_id

    @property
    def name(self) -> str:
        """The name this user bound, else the name that its owner gave it, else the room id."""
        claimed = self._rules.collection.name if self._rules.collection else None
        return self._name or claimed or self._room_id

    @property
    def encrypted(self) -> bool:
        """Whether the room is end-to-end encrypted."""
        return self._trust is not None

    @property
    def trust(self) -> Policy | None:
        """Whose devices get keys and are read: "cross-signed", "verified" or "all"; None where nothing is encrypted."""
        return self._trust

    async def set_trust(self, trust: Policy, *, members: Sequence[str] | None = None) -> None:
        """Decide, for this collection and this machine, who gets keys from now on, and whose records are taken.

        What could not be read before and now can, arrives; what was taken before stays.

        Args:
            trust: "cross-signed" takes devices that their owner signed, "verified" those of people whom you
                verified, "all" any device that a server lists.
            members: user ids that alone are given keys and read, whoever else is in the room; None: every member.

        Raises:
            Unsupported: the collection is not encrypted.
        """
        self._services.check()
        if self._trust is None:
            raise Unsupported("trust", f"{self.name!r} is not encrypted, so that nobody needs keys for it")
        await set_trust(self._services, self._room_id, trust, members)
        self._trust = trust

    @property
    def schema(self) -> JSONObject | bool | None:
        """The JSON Schema that new records are checked against; None without one."""
        schema = (self._services.intake.known_rules(self._room_id) or self._rules).schema
        if schema is None:
            return None
        document: JSONObject | bool = msgspec.json.decode(schema.text)
        return document

    # -- members ----------------------------------------------------------------------------------------
    async def invite(self, user_id: str, *, role: Role = "writer") -> None:
        """Invite a user, as "reader", "writer" or "owner". Inviting a member again only sets the role.

        Of an encrypted collection, the keys of its past are offered to them too: see docs/encryption.md.

        Raises:
            Rejected: the server refuses, for instance because you may not invite here.
        """
        await invite_as(self._services, self._room_id, user_id, role)

    def members(self) -> AsyncTable[Member]:
        """Who is here, invited or gone, with their roles; asked from the server, else from the replica."""
        return AsyncTable(Member, partial(members_of, self._services, self._room_id))

    async def follow_upgrade(self) -> AsyncCollection:
        """Go where the room went when it was upgraded; harmless where nothing replaced it, and to be repeated.

        Joins the new room, sets schemas and settings there if it has none and you may, lets your names for the old
        room mean the new one, and queues there what the upgrade left stuck. Several upgrades in a row are all
        followed. The old room's records stay readable by its id.

        Returns:
            The collection in the last room.

        Raises:
            UpgradePending: the new room has no settings and you may not set them; it names who may.
            Conflict: the new room does not say that it replaced this one, or upgrades lead in a circle.
            Rejected: you may not join; the message says who could invite you.
            NotSent, Unknown, RateLimited: the server was not reached; calling again goes on.
        """
        from matrixdata.collection.following import follow  # noqa: PLC0415  it opens collections, and so imports this

        self._services.check()
        return await follow(self._services, self._room_id)

    async def leave(self) -> None:
        """Leave the room. What was received is kept and can still be queried; the name is freed."""
        await leave_room(self._services, self._room_id)

    # -- writing ----------------------------------------------------------------------------------------
    async def publish(
        self,
        record: Mapping[str, object],
        *,
        wait: Milestone = "sent",
        timeout: float = 10.0,
        uid: str | None = None,
    ) -> AsyncReceipt:
        """Check a record, store it durably, and send it; offline it is sent later.

        Args:
            record: a JSON object: str keys, finite numbers, integers of 64 bits.
            wait: return once it is "queued" (durable here), "sent" (the server has it) or "synced" (it came
                back and is in the replica).
            timeout: seconds to wait for that. After them the receipt says "queued"; nothing is lost, so
                publishing again is never needed.
            uid: your own id for the record, to make your own retries harmless; at most 255 bytes.

        Raises:
            RecordInvalid, TooLarge: nothing was queued; every reason, with JSON Pointers.
            Rejected: the server refused it; it is kept in the outbox as stuck.
            DeviceUntrusted: the identity of somebody who would get the key changed; the record is queued, and sent
                once that is acknowledged.
            Conflict: the uid already stands for another record.
        """
        self._services.check()
        return await publish_one(self._services, self._room_id, record, wait=wait, timeout=timeout, uid=uid)

    async def publish_many(
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
        """Publish many records: an iterable of dicts, a pandas or polars DataFrame, or an Arrow table.

        Args:
            rows: the records; a frame's columns become keys, its missing cells absent keys.
            on_error: "collect" publishes the good rows and lists the others in `report.rejected`; "raise"
                checks all rows first and publishes none if one is bad.
            wait: as in `publish`.
            timeout: seconds without any progress after which it returns; the rest stays queued.
            job: a name for these rows. Run again with the same name and rows, it goes on where it stopped:
                rows accepted before are passed over and counted in `report.skipped`.
            batch: True packs many rows into one event, some thousands of readings; False sends one event a row, which
                can be edited and redacted by itself. None packs where more than 100 rows come at once.
            progress: called with (sent, accepted) as it goes. None: the blocking face shows a bar after a second,
                in notebooks and on terminals; False: nothing.

        Raises:
            RecordInvalid, TooLarge: with on_error="raise"; nothing was queued.
            Conflict: the job has accepted another record for one of these rows, or runs elsewhere right now.
            StoreFull: there was no room for more; its `report` says what was accepted before that.
        """
        self._services.check()
        return await publish_rows(
            self._services,
            self._room_id,
            rows,
            on_error=on_error,
            wait=wait,
            timeout=timeout,
            job=job,
            batch=batch,
            progress=callback_of(progress),
        )

    def publisher(
        self, *, linger: float = 1.0, size: int = 250, timeout: float = 10.0, batch: bool = True
    ) -> AsyncPublisher:
        """For a stream of single records: they share commits, and leave in groups. Use it in a with block.

        `publish` of the publisher checks a record and returns at once. It is durable `linger` seconds later at the
        latest, or with `flush()`, or when the block is left: until then, a crash loses it, and its receipt says
        "held". `AsyncCollection.publish` has no such moment.

        Args:
            linger: seconds that a record waits for others at most.
            size: records that are stored together at most; a full group is stored at once.
            timeout: seconds that the end of the block waits until all is sent; the rest is sent later.
            batch: what is stored together leaves in one event. False: each record in an event of its own.
        """
        self._services.check()
        return AsyncPublisher(
            self._services, self._room_id, linger=linger, size=size, timeout=timeout, batch=batch
        )

    # -- reading ----------------------------------------------------------------------------------------
    def subscribe(
        self,
        *,
        start: Start = "new",
        cursor: str | None = None,
        buffer: int = 500,
        overflow: Overflow = "block",
    ) -> AsyncSubscription:
        """Records as they are committed; use it in a with block, which is entered once live. See docs/subscribe.md.

        Args:
            start: "new", "all" (what is there, then what comes), a Position, or an aware datetime (by record
                time).
            cursor: a name under which to remember how far this subscription got; the next one of that name
                goes on there, and `start` counts only the first time. One subscription at a time may use it.
            buffer: records held ready in memory, at most.
            overflow: when more than that wait: "block" leaves them in the replica until they are asked for,
                "drop_oldest" skips to the newest `buffer`, "error" ends the subscription with FellBehind.
        """
        self._services.check_reading()
        wanted = Wanted(self._room_id, start, cursor=cursor, buffer=buffer, overflow=overflow)
        return AsyncSubscription(self._services.sources, wanted)

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
    ) -> AsyncQuery:
        """A query; it runs when its rows, a frame or a file are asked for.

        Args:
            where: a filter such as {"device": "d1", "temp": {">": 20}}, or an SQL expression such as
                "temp > 20 AND device = 'd1'" (extra: data); see docs/query.md.
            since: from here, inclusive: "-24h", an ISO 8601 text with offset, an aware datetime, or a Position
                (then exclusive). By the collection's time field if it has one, else by event time.
            until: up to here, exclusive; the same forms.
            columns: the columns of frames and files; all by default.
            order: "time", a path such as "temp", or either with "-" before it for descending; by default
                the room's timeline.
            limit: at most so many rows, the first in that order.
            as_of: leave out what arrived after this Position.
            on_incomplete: "warn", "raise" or "ignore" when rows are missing.
            timeout: seconds to wait until the replica holds what the server has now; 0 reads what is here.
            progress: called while it waits for history to arrive; None and False as in `publish_many`.
        """
        self._services.check_reading()
        report = callback_of(progress)
        spec = checked_query(
            where=where,
            since=since,
            until=until,
            columns=columns,
            order=order,
            limit=limit,
            as_of=as_of,
            on_incomplete=on_incomplete,
            timeout=timeout,
            now=self._services.clock(),
            replica=self._services.replica,
        )
        self._last = AsyncQuery(self._services, self._room_id, self.name, spec, progress=report)
        return self._last

    def history(self, *, timeout: float = 10.0) -> AsyncTable[HistoryEvent]:
        """Every event of the room that the replica holds, foreign ones too, in the timeline's order."""
        fetch = partial(history_events, self._services, self._room_id, timeout=timeout)
        return AsyncTable(HistoryEvent, fetch)

    def state(self, *, at: str | None = None) -> AsyncTable[StateEvent]:
        """The room's current state, asked from the server, else as the replica has it.

        Args:
            at: an event id: the state as of that event instead, which only the server knows.
        """
        return AsyncTable(StateEvent, partial(state_events, self._services, self._room_id, at=at))

    async def sync(self, *, since: datetime | None = None, progress: Progress[SyncProgress] = None) -> None:
        """Complete the replica from the server now: every gap filled, back to `since` or to the start.

        What came live is compared with the room's history as the server pages it: what other servers told late
        is put where it belongs, and what was never told is fetched.

        Args:
            since: an aware datetime; older history may stay a gap.
            progress: called as pages arrive; None and False as in `publish_many`.

        Raises:
            NotSent, Unknown, RateLimited: the server was not reached; what was fetched is kept.
            PaginationLoop: the server's pages lead nowhere; the gap stays listed.
            ValueError: `since` has no time zone.
        """
        report = callback_of(progress)
        await complete(self._services, self._room_id, since=since, progress=report)

    async def invalid(self, *, timeout: float = 10.0) -> InvalidRecords:
        """Records that arrived and are quarantined: malformed, or against the schema; with every reason.

        Returns:
            A list, which `.to_pandas()` makes a DataFrame.
        """
        return await quarantined(self._services, self._room_id, timeout=timeout)
