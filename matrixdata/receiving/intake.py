"""From a parsed response to committed rows: judge each event by its room's rules, commit, settle the outbox.

The order is fixed: rows and token commit first; only then leave the outbox items that the rows echo. A
crash in between leaves an item too long, and the next start removes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from matrixdata.model.member import event_of
from matrixdata.model.steps import reached
from matrixdata.protocol.batch import BATCH
from matrixdata.receiving.opening import Opening
from matrixdata.receiving.pipeline import (
    changes_rules,
    event_row,
    is_malformed,
    judged_again,
    membership_of,
    state_rows,
)
from matrixdata.replica.footprint import EVERYTHING
from matrixdata.replica.outbox_item import Echo
from matrixdata.replica.rows import RoomChange
from matrixdata.replica.rules import RULE_TYPES, Rules, read_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from matrixdata.carrier import Keys
    from matrixdata.protocol.events import Event
    from matrixdata.protocol.sync import MessagesPage, RoomUpdate, SyncBatch
    from matrixdata.replica.footprint import Footprint
    from matrixdata.replica.order import Arranged
    from matrixdata.replica.outbox import Outbox
    from matrixdata.replica.rooms import Rooms
    from matrixdata.replica.rows import Applied, EventRow, GapRow, StateRow
    from matrixdata.replica.unread import Unread

_SLICE = 2000
# Of a room's state, what a client needs that only publishes; and its own membership.
_WRITERS_NEED = frozenset({*RULE_TYPES, "m.room.encryption", "m.room.tombstone"})
_FEW = 20


class Intake:
    """The one way into the replica."""

    def __init__(
        self,
        rooms: Rooms,
        outbox: Outbox,
        unread: Unread,
        keys: Keys,
        *,
        user_id: str,
        footprint: Footprint = EVERYTHING,
    ) -> None:
        self._rooms = rooms
        self._unread = unread
        self._keys = keys
        self._opening = Opening(keys)
        self._outbox = outbox
        self._user_id = user_id
        self._footprint = footprint
        self._rules: dict[str, Rules] = {}
        self._stale: set[str] = set()
        self._unscrubbed: str | None = None
        self.home = user_id.partition(":")[2]
        """The name of our own server."""
        self.on_foreign: list[Callable[[str], None]] = []
        """Called with a room id after a sync response brought events of other servers into it."""

    async def rules(self, room_id: str) -> Rules:
        """The rules that a room's records are judged by, as its state in the replica has them."""
        if room_id not in self._rules or room_id in self._stale:
            # A kill may have come between the commit of new rules and that of the verdicts they lead to.
            await self.judge_again(room_id)
        return self._rules[room_id]

    async def refresh(self) -> None:
        """Rules that another process changed in the replica are read anew when they are next needed."""
        judged = await self._rooms.judged()
        self._stale |= {room for room, rules in self._rules.items() if judged.get(room) != rules.fingerprint}

    def known_rules(self, room_id: str) -> Rules | None:
        """Those rules as they were last read; None before the first time."""
        return self._rules.get(room_id)

    async def sync(self, batch: SyncBatch, *, kind: str, token: str | None) -> None:
        """Commit one sync response with its token."""
        await self._take(batch.rooms, {kind: token})

    async def update(self, update: RoomUpdate) -> None:
        """Commit what was learned of one room beside the sync responses."""
        await self._take((update,), {})

    async def _take(self, updates: Sequence[RoomUpdate], tokens: dict[str, str | None]) -> None:
        changes = [await self._change(update) for update in updates]
        reached("read.2 judged")
        applied = await self._rooms.apply(changes, tokens=tokens)
        reached("read.3 committed")
        for change in changes:
            if changes_rules(change.state) or any(row.redacts for row in change.events):
                await self.judge_again(change.room_id)
        await self._settle(applied)
        reached("publish.5 settled")
        self._tell_foreign(applied)

    async def state(self, room_id: str, state: tuple[StateRow, ...]) -> None:
        """Commit a room's state fetched by itself, as a one-shot writer does."""
        membership = membership_of(self._user_id, state)
        if self._footprint.replica == "none":
            state = tuple(row for row in state if row.type in _WRITERS_NEED or row.state_key == self._user_id)
        change = RoomChange(room_id, state=state, membership=membership)
        await self._rooms.apply([change], tokens={})
        await self.judge_again(room_id)

    async def forget(self, room_id: str, event_ids: Sequence[str], state: tuple[StateRow, ...]) -> None:
        """The server no longer has these events, and this is the room's whole state now."""
        await self._rooms.forget(room_id, event_ids, state)
        await self.judge_again(room_id)

    async def page(self, gap: GapRow, page: MessagesPage, *, token: str | None) -> bool:
        """Commit one page of older events; True when the gap is closed."""
        rules = await self.rules(gap.room_id)
        rows = await self._rows(gap.room_id, page.events, rules)
        applied = await self._rooms.fill(gap, rows, token=token)
        await self._follow_up(gap.room_id, page, rows, rules)
        await self._settle(applied)
        return applied.reached_known

    async def arrange(self, room_id: str, page: MessagesPage, *, below: int | None) -> Arranged:
        """Commit one page of the newest events, which goes on from position `below`, in the order it has."""
        rules = await self.rules(room_id)
        rows = await self._rows(room_id, page.events, rules)
        done, applied = await self._rooms.arrange(room_id, rows, below=below)
        if not done.calm:
            await self._follow_up(room_id, page, rows, rules)
            await self._settle(applied)
        return done

    async def reveal(self, room_id: str, events: Sequence[Event]) -> None:
        """Try again to read events that are here and could not be read."""
        rules = await self.rules(room_id)
        rows = await self._rows(room_id, events, rules)
        await self._settle(await self._unread.reveal(room_id, rows))

    async def reconcile(self) -> None:
        """Remove outbox items whose echo was committed before a crash could settle them."""
        echoes = []
        for item in await self._outbox.list():
            event = await self._rooms.find(item.room_id, self._user_id, item.uid, batch=item.type == BATCH)
            if event is not None:
                echoes.append(Echo(event_of(event.event_id), item.room_id, item.uid, None, event.value))
            elif item.event_id is not None and await self._rooms.has_events([item.event_id]):
                echoes.append(Echo(item.event_id, item.room_id, None, None, None))  # redacted since
        await self._outbox.settle(echoes)
        await self._scrub(await self._rooms.unscrubbed())

    async def scrub(self) -> None:
        """What was redacted and still stands in a log leaves the files, if nobody reads any more."""
        await self._scrub(self._unscrubbed)

    async def _change(self, update: RoomUpdate) -> RoomChange:
        timeline_state = state_rows(update.timeline)
        beside = state_rows(update.state)
        state = beside + timeline_state if update.state_first else timeline_state + beside
        rules = await self.rules(update.room_id)
        if changes_rules(state):
            stored = await self._rooms.state(update.room_id, RULE_TYPES)
            merged = {(row.type, row.state_key): row for row in (*stored, *state)}
            rules = await self._read_rules(update.room_id, merged.values())
        return RoomChange(
            update.room_id,
            events=await self._rows(update.room_id, update.timeline, rules),
            state=state,
            limited=update.limited,
            prev_batch=update.prev_batch,
            membership=membership_of(self._user_id, state) or update.membership,
        )

    async def _follow_up(
        self, room_id: str, page: MessagesPage, rows: Sequence[EventRow], rules: Rules
    ) -> None:
        """Bring verdicts in line with what a page of older events, or the time it took, has changed."""
        if any(row.redacts for row in rows):
            await self.judge_again(room_id)
        if await self.rules(room_id) is not rules:
            # They changed while the page was on its way, after the rows that were here had been judged anew.
            rows = await self._rows(room_id, page.events, await self.rules(room_id))
            await self._rooms.rejudge(room_id, [row for row in rows if row.record], rules=None)

    def _tell_foreign(self, applied: Applied) -> None:
        pairs = zip(applied.added, applied.added_in, strict=True)
        for room_id in {room for row, room in pairs if row.sender.partition(":")[2] != self.home}:
            for listener in self.on_foreign:
                listener(room_id)

    async def judge_again(self, room_id: str) -> None:
        """The room's rules may have changed: bring every row's verdict in line with them."""
        state = await self._rooms.state(room_id, (*RULE_TYPES, "m.room.create"))
        if not state and room_id in self._rules:
            return  # the replica is being rebuilt: publishing meanwhile must not go without a schema
        self._rules[room_id] = rules = await self._read_rules(room_id, state)
        self._stale.discard(room_id)
        if self._rooms.attending or await self._rooms.judged_by(room_id) == rules.fingerprint:
            return
        verdicts: list[EventRow] = []
        async for page in self._rooms.scan(room_id).record_events():
            verdicts += [judged_again(event, rules) for event in page if not is_malformed(event)]
        for start in range(0, len(verdicts), _SLICE):
            await self._rooms.rejudge(room_id, verdicts[start : start + _SLICE], rules=None)
        await self._rooms.rejudge(room_id, [], rules=rules.fingerprint)

    async def _settle(self, applied: Applied) -> None:
        await self._outbox.settle(
            [
                Echo(row.event_id, room_id, row.uid, row.txn_id, row.value)
                for row, room_id in zip(applied.added, applied.added_in, strict=True)
                if row.sender == self._user_id
            ]
        )
        await self._scrub(applied.unscrubbed)

    async def _scrub(self, upto: str | None) -> None:
        """What was redacted leaves the files for good. While somebody reads that has to wait."""
        done = upto is None or (await self._outbox.scrub() and await self._rooms.scrub(upto))
        self._unscrubbed = None if done else upto

    async def _rows(self, room_id: str, events: Sequence[Event], rules: Rules) -> tuple[EventRow, ...]:
        """The rows of events: at once for a few, on a worker thread where many would hold up the event loop."""
        opened = await self._opening.open(room_id, events)

        def rows() -> tuple[EventRow, ...]:
            return tuple(event_row(event, rules, opened.get(event.event_id)) for event in events)

        return rows() if len(events) <= _FEW else await anyio.to_thread.run_sync(rows)

    async def _read_rules(self, room_id: str, state: Iterable[StateRow]) -> Rules:
        rules = read_rules(state)
        if not rules.encrypted:
            return rules
        policy = await self._keys.read(lambda engine, c: engine.policy(c, room_id).policy)
        return rules if policy == "all" else rules.strict()
