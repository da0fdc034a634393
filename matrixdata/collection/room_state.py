"""A room's state: asked from the server, else as the replica has it; and who is in the room."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from matrixdata.carrier.audience import audience_of
from matrixdata.collection.roles import Role, read_power_levels
from matrixdata.collection.tables import Member, StateEvent, member_rows, state_event
from matrixdata.errors import NotSent, Rejected, Unknown
from matrixdata.protocol import requests
from matrixdata.protocol.sync import parse_context_state, parse_state
from matrixdata.receiving.pipeline import membership_of, state_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matrixdata.collection.ports import Services
    from matrixdata.replica.rows import StateRow


async def fetched_state(services: Services, room_id: str) -> tuple[StateRow, ...]:
    """What the server says now."""
    return state_rows(parse_state(await services.caller.call(requests.room_state(room_id), patience=10)))


async def current_state(services: Services, room_id: str) -> Sequence[StateRow]:
    """What the server says now, else the replica's."""
    services.check()
    try:
        return await fetched_state(services, room_id)
    except (NotSent, Unknown, Rejected):
        if not services.reads:
            raise
        return await services.rooms.state(room_id)


async def state_at(services: Services, room_id: str, event_id: str) -> Sequence[StateRow]:
    """What the server says it was as of that event."""
    services.check()
    return state_rows(parse_context_state(await services.caller.call(requests.context(room_id, event_id))))


async def members_of(services: Services, room_id: str) -> list[Member]:
    """Who is here, invited or gone."""
    return member_rows(await current_state(services, room_id))


async def state_events(services: Services, room_id: str, *, at: str | None) -> list[StateEvent]:
    """The state now, or as of an event, for people."""
    rows = await (current_state(services, room_id) if at is None else state_at(services, room_id, at))
    return [state_event(row) for row in rows]


async def _learn(services: Services, room_id: str) -> None:
    """Read at once what we changed: the next record is encrypted for whom we have just invited."""
    services.sealing.changed(room_id)
    with suppress(NotSent, Unknown):  # then sync tells, a moment later
        await services.intake.state(room_id, await fetched_state(services, room_id))


async def invite_as(services: Services, room_id: str, user_id: str, role: Role) -> None:
    """Invite a user and give the role; of a member only the role is set."""
    if role not in {"reader", "writer", "owner"}:
        raise ValueError(f'role={role!r}; it takes "reader", "writer" or "owner"')
    if not user_id.startswith("@") or ":" not in user_id:
        raise ValueError(f"{user_id!r} is not a Matrix user id, which looks like @ada:example.org")
    services.check()
    await services.standing.check_member(room_id)
    state = await fetched_state(services, room_id)
    levels = read_power_levels(state).granting(user_id, role)
    if levels is not None:
        # The role first: who joins at once must not find the wrong one.
        await services.caller.call(requests.put_state(room_id, "m.room.power_levels", "", levels))
    if membership_of(user_id, state) not in {"join", "invite"}:
        audience = audience_of(state)
        if audience.encryption is not None and audience.visibility in {"shared", "world_readable"}:
            await services.past.offer(room_id, user_id)
        await services.caller.call(requests.invite(room_id, user_id))
        await _learn(services, room_id)
