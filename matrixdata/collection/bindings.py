"""What this user's names mean: kept in the account's data, and so on all of the user's devices, and here.

The server is told first. An attempt that is cut short in between is then repeated as if nothing had happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.errors import Rejected, Unsupported
from matrixdata.protocol import requests
from matrixdata.protocol.sync import decode

if TYPE_CHECKING:
    from matrixdata.collection.ports import Services

_TYPE = "io.matrixdata.binding."


async def bind(services: Services, name: str, room_id: str) -> None:
    """Let a name mean a room, on every device of this user.

    Raises:
        NotSent, Unknown, RateLimited: the server was not reached; the name is not bound here either.
    """
    await announce(services, name, room_id)
    await services.account.bind(name, room_id)


async def announce(services: Services, name: str, room_id: str) -> None:
    """The server's half of `bind`: what the name means on devices that do not know it yet."""
    request = requests.put_account_data(services.user_id, _TYPE + name, {"room_id": room_id})
    await services.caller.call(request)


async def unbind(services: Services, room_id: str) -> None:
    """Free every name known here that means a room."""
    for name, bound in (await services.account.bindings()).items():
        if bound == room_id:
            # Account data cannot be deleted; an empty object means nothing.
            await services.caller.call(requests.put_account_data(services.user_id, _TYPE + name, {}))
    await services.account.unbind(room_id)


async def meaning(services: Services, name: str) -> str | None:
    """The room that a name means: as known here, else as another device bound it; None if nothing."""
    known = (await services.account.bindings()).get(name)
    if known is not None:
        return known
    request = requests.account_data(services.user_id, _TYPE + name)
    try:
        content = decode(await services.caller.call(request, patience=10))
    except (Rejected, Unsupported):
        return None  # 404: no device bound it
    room_id = content.get("room_id") if isinstance(content, dict) else None
    if not isinstance(room_id, str) or not room_id:
        return None
    await services.account.bind(name, room_id)
    return room_id
