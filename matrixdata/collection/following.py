"""Following an upgraded room: join what replaced it, bring over what servers do not copy, let our names mean it.

Every step may be repeated, by us after a kill or by several members at once: the collection's own state event is
set last and never over another, and here names and outbox change in one transaction. Power levels are left alone:
servers copy them as they were before the old room was closed (measured).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from matrixdata.carrier.audience import ENCRYPTION
from matrixdata.collection.bindings import announce
from matrixdata.collection.directory import Directory
from matrixdata.collection.roles import read_power_levels
from matrixdata.collection.trust import carry_encryption
from matrixdata.errors import Conflict, LoggedOut, Rejected, UpgradePending
from matrixdata.model.problem import safe_text
from matrixdata.model.steps import reached
from matrixdata.protocol import requests
from matrixdata.protocol.batch import BATCH, unpack_batch
from matrixdata.protocol.content import COLLECTION, SCHEMA, parse_collection, unpack_record
from matrixdata.protocol.numbers import WireError
from matrixdata.protocol.sync import MalformedResponse, decode, parse_state
from matrixdata.receiving.pipeline import membership_of, state_rows
from matrixdata.receiving.standing import ROOM_REPLACED, TOMBSTONE, replacement
from matrixdata.replica.rules import read_rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matrixdata.collection.core import AsyncCollection
    from matrixdata.collection.ports import Services
    from matrixdata.replica.outbox_item import OutboxItem
    from matrixdata.replica.rows import StateRow
    from matrixdata.replica.rules import Rules

# Upgrades in a row that are followed; more is a circle that never closes.
_MOST = 32
# Seconds for the sender to look whether the old room has what is queued for it, and to give up the rest.
_PATIENCE = 20.0
_LOOK = 0.05
_SHOWN = 5


class _Room(msgspec.Struct, frozen=True):
    """A room of the chain, as the server has it now."""

    room_id: str
    state: Sequence[StateRow]

    def row(self, event_type: str) -> StateRow | None:
        return next((row for row in self.state if row.type == event_type and not row.state_key), None)

    @property
    def rules(self) -> Rules:
        return read_rules(self.state)


async def follow(services: Services, room_id: str) -> AsyncCollection:
    """The collection that a room is now, joined and known by our names; the room itself if nothing replaced it."""
    *old, new = await _walk(services, room_id)
    if old:
        reached("follow.1 joined")
        stated = new.row(ENCRYPTION)
        await carry_encryption(
            services, [room.room_id for room in old], new.room_id, stated.content if stated else None
        )
        await _bring_state(services, old, new)
        await _rebind(services, [room.room_id for room in old], new.room_id)
        reached("follow.4 moved")
        services.sender.wake()
    return await Directory(services).open_room(new.room_id)


# -- the way there ------------------------------------------------------------------------------------------
async def _walk(services: Services, room_id: str) -> list[_Room]:
    """The room and those that replaced it one after the other; we are in all of the latter."""
    rooms = [await _first(services, room_id)]
    while True:
        here, tombstone = rooms[-1], rooms[-1].row(TOMBSTONE)
        following = replacement(here.room_id, [tombstone.content]) if tombstone is not None else None
        if tombstone is None or following is None:
            return rooms
        path = [*(room.room_id for room in rooms), following]
        if following in path[:-1]:
            raise Conflict(
                f"the upgrades lead in a circle: {' → '.join(path)}. Nothing was changed; open the room to go on "
                "with by its id"
            )
        if len(path) > _MOST:
            raise Conflict(
                f"{room_id} was upgraded more than {_MOST} times in a row; open the last room by its id"
            )
        rooms.append(await _enter(services, here.room_id, following, tombstone.sender))


async def _first(services: Services, room_id: str) -> _Room:
    try:
        return _Room(room_id, await _fetched(services, room_id))
    except LoggedOut:
        raise
    except Rejected:  # we are not in it any more; what it said while we were still stands here
        return _Room(room_id, await services.rooms.state(room_id))


async def _enter(services: Services, old: str, new: str, upgrader: str) -> _Room:
    """Join the replacement of a room, and leave it again unless it says itself that it is that."""
    body = decode(await services.caller.call(requests.joined_rooms()))
    joined = body.get("joined_rooms") if isinstance(body, dict) else None
    try:
        via = (upgrader.partition(":")[2],)
        await services.caller.call(requests.join(new, via=via), patience=90)
    except LoggedOut:
        raise
    except Rejected as error:
        raise Rejected(
            error.errcode,
            f"you may not join {new}, which replaced {old}; ask {safe_text(upgrader)}, who upgraded it, to invite "
            "you, and follow again",
            status=error.status,
        ) from error
    state = await _asked(services, new)
    if _predecessor(state) != old:
        if not isinstance(joined, list) or new not in joined:
            await services.caller.call(requests.leave(new))
        raise Conflict(
            f"{safe_text(upgrader)} says that {new} replaced {old}, but that room does not say so of itself. Nothing "
            "was changed. Ask them; if it is right all the same, open that room by its id"
        )
    await services.intake.state(new, state)
    return _Room(new, state)


def _predecessor(state: Sequence[StateRow]) -> object:
    for row in state:
        if row.type == "m.room.create" and not row.state_key:
            found = _content(row).get("predecessor")
            return found.get("room_id") if isinstance(found, dict) else None
    return None


async def _asked(services: Services, room_id: str) -> tuple[StateRow, ...]:
    return state_rows(parse_state(await services.caller.call(requests.room_state(room_id))))


async def _fetched(services: Services, room_id: str) -> tuple[StateRow, ...]:
    state = await _asked(services, room_id)
    await services.intake.state(room_id, state)
    return state


# -- what the server does not copy --------------------------------------------------------------------------
async def _bring_state(services: Services, old: Sequence[_Room], new: _Room) -> None:
    """Set the newest schemas and collection state of the old rooms in the new one, unless that has its own.

    Raises:
        UpgradePending: it has none, and we may set none.
    """
    source = next((room for room in reversed(old) if room.rules.collection is not None), None)
    if source is None or new.rules.collection is not None:
        return
    _check_power(services, old[0].room_id, new)
    known = source.rules.known
    rows = [row for row in source.state if row.type == SCHEMA and _content(row).get("hash") in known]
    # The collection comes last: whoever finds it finds everything, and leaves alone what has become of it since.
    rows += [row for row in source.state if row.type == COLLECTION and not row.state_key]
    for row in rows:
        await _put(services, new.room_id, row)
    await _fetched(services, new.room_id)


def _check_power(services: Services, old: str, new: _Room) -> None:
    levels = read_power_levels(new.state)
    needed = max(levels.to_set(COLLECTION), levels.to_set(SCHEMA))
    if levels.of(services.user_id) < needed:
        members = (row.state_key for row in new.state if row.type == "m.room.member")
        able = [
            user for user in members if levels.of(user) >= needed and membership_of(user, new.state) == "join"
        ]
        raise UpgradePending(old, new.room_id, owners=[safe_text(user) for user in able[:_SHOWN]])


async def _put(services: Services, room_id: str, row: StateRow) -> None:
    """Set a state event as it stands in the old room, if it is not there; a collection's is never replaced."""
    content = _content(row)
    try:
        there = decode(await services.caller.call(requests.state_event(room_id, row.type, row.state_key)))
    except Rejected as error:
        if error.errcode != "M_NOT_FOUND":
            raise
    else:
        if there == content or (row.type == COLLECTION and _is_collection(there)):
            return
    await services.caller.call(requests.put_state(room_id, row.type, row.state_key, content))
    reached("follow.2 state")


def _is_collection(content: object) -> bool:
    try:
        parse_collection(content)
    except WireError:
        return False
    return True


def _content(row: StateRow) -> dict[str, Any]:
    try:
        content = decode(row.content)
    except MalformedResponse:
        return {}
    return content if isinstance(content, dict) else {}


# -- what we keep ourselves ---------------------------------------------------------------------------------
async def _rebind(services: Services, old: Sequence[str], new: str) -> None:
    """Let the names of the old rooms mean the new one, and queue there what could not be sent any more."""
    items = await _left_over(services, old, new)
    names = [name for name, bound in (await services.account.bindings()).items() if bound in old]
    for name in names:
        await announce(services, name, new)
    reached("follow.3 bound")
    moved = await services.account.follow(old, new, names=names, items=[item.id for item in items])
    for item in await services.outbox.by_txn(moved):
        services.receipts.update(item)


async def _left_over(services: Services, old: Sequence[str], new: str) -> list[OutboxItem]:
    """Records stuck because of the upgrade, which surely are not in the old rooms, and are valid in the new one."""
    services.sender.wake(hurry=True)
    with anyio.move_on_after(_PATIENCE):
        while await _any_queued(services, old):  # noqa: ASYNC110  the sender may be another process's
            await anyio.sleep(_LOOK)
    rules = await services.intake.rules(new)
    stuck = [item for room_id in old for item in await services.outbox.entries(room_id, states=("stuck",))]
    return [item for item in stuck if item.reason == ROOM_REPLACED and _fits(item, rules)]


async def _any_queued(services: Services, rooms: Sequence[str]) -> bool:
    return any([await services.outbox.list(room_id, states=("queued",)) for room_id in rooms])


def _fits(item: OutboxItem, rules: Rules) -> bool:
    """Whether the new room's readers would take a record, or all of a batch; if not it stays listed where it is."""
    content = msgspec.json.decode(item.content)
    if item.type == BATCH:
        batch = unpack_batch(content)
        return not any(rules.problems(member.value, batch.schema_hash) for member in batch.members())
    record = unpack_record(content)
    return not rules.problems(record.value, record.schema_hash)
