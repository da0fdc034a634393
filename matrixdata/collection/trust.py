"""Whose devices get the keys of a collection, and whose records are taken. Kept on this machine; no server is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

import msgspec

from matrixdata.carrier.audience import ENCRYPTION
from matrixdata.encryption.port import MEGOLM, Policy
from matrixdata.errors import Conflict, LoggedOut, Rejected
from matrixdata.model.json import JSONObject
from matrixdata.protocol import requests

if TYPE_CHECKING:
    import sqlite3

    from matrixdata.collection.ports import Services
    from matrixdata.encryption.engine import Engine

# One key a week and not hundreds a day, each of which is a message to every device: docs/decisions/0016.
ENCRYPTION_CONTENT: JSONObject = {
    "algorithm": MEGOLM,
    "rotation_period_ms": 7 * 24 * 3_600_000,
    "rotation_period_msgs": 10_000,
}


def check_user_ids(name: str, users: Sequence[str]) -> tuple[str, ...]:
    """User ids that an argument of that name gives, or an error saying what is wrong with them."""
    if isinstance(users, str):
        raise TypeError(f"{name}={users!r}; it takes a list of user ids, such as [{users!r}]")
    for user_id in users:
        if not user_id.startswith("@") or ":" not in user_id:
            raise ValueError(f"{user_id!r} is not a Matrix user id, which looks like @ada:example.org")
    return tuple(users)


def check_trust(trust: str, members: Sequence[str] | None) -> None:
    """ValueError for anything but the three policies and user ids."""
    if trust not in get_args(Policy):
        raise ValueError(f"trust={trust!r}; it takes {', '.join(map(repr, get_args(Policy)))}")
    if members is not None:
        check_user_ids("members", members)


async def trust_of(services: Services, room_id: str) -> Policy:
    """The policy in force."""
    policy: Policy = await services.keys.read(lambda engine, c: engine.policy(c, room_id).policy)
    return policy


async def members_trusted(services: Services, room_id: str) -> list[str] | None:
    """The user ids that alone get keys and are read; None: every member's."""
    rule = await services.keys.read(lambda engine, c: engine.policy(c, room_id))
    return None if rule.members is None else sorted(rule.members)


async def set_trust(services: Services, room_id: str, trust: Policy, members: Sequence[str] | None) -> None:
    """Set it, let what waits for it go on, and look again at what could not be read."""
    check_trust(trust, members)
    await services.keys.write(lambda engine, c: engine.set_policy(c, room_id, trust, members))
    services.sender.wake(hurry=True)
    await services.late.retry(room_id)


async def carry_encryption(services: Services, old: Sequence[str], new: str, stated: bytes | None) -> None:
    """A room was replaced: where it was encrypted its successor is too, and the same devices are trusted there.

    Args:
        services: of the client.
        old: the rooms that were replaced, the newest last.
        new: the room that is there now.
        stated: content of its m.room.encryption, None where it has none.

    Raises:
        Conflict: the new room is not encrypted, and we may not change that.
    """
    known = await services.keys.read(lambda engine, c: [engine.is_encrypted(c, room) for room in old])
    encrypted = [room for room, is_encrypted in zip(old, known, strict=True) if is_encrypted]
    if not encrypted:
        return
    if stated is None:
        stated = await _encrypt(services, new)

    def work(engine: Engine, c: sqlite3.Connection) -> None:
        rule = engine.policy(c, encrypted[-1])
        engine.note_room(c, new, stated)
        engine.set_policy(c, new, rule.policy, rule.members)

    await services.keys.write(work)


async def _encrypt(services: Services, room_id: str) -> bytes:
    try:
        await services.caller.call(requests.put_state(room_id, ENCRYPTION, "", ENCRYPTION_CONTENT))
    except LoggedOut:
        raise
    except Rejected as error:
        raise Conflict(
            f"{room_id} replaced an encrypted room and is not encrypted, so nothing is moved there. Ask who upgraded "
            "it to turn encryption on, and follow again"
        ) from error
    return msgspec.json.encode(ENCRYPTION_CONTENT)
