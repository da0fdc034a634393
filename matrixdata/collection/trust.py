"""Whose devices get the keys of a collection, and whose records are taken. Kept on this machine; no server is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from matrixdata.encryption.port import Policy

if TYPE_CHECKING:
    from matrixdata.collection.ports import Services

DEFAULT: Policy = "cross-signed"


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


async def set_trust(services: Services, room_id: str, trust: Policy, members: Sequence[str] | None) -> None:
    """Set it, let what waits for it go on, and look again at what could not be read."""
    check_trust(trust, members)
    await services.keys.write(lambda engine, c: engine.set_policy(c, room_id, trust, members))
    services.sender.wake(hurry=True)
    await services.late.retry(room_id)
