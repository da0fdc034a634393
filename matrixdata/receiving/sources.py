"""Where sync responses come from: simplified sliding sync (MSC4186), or /sync where there is none."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from matrixdata.errors import Rejected, Unknown
from matrixdata.protocol import requests
from matrixdata.protocol.sync import MalformedResponse, SyncBatch, parse_sliding, parse_v2

if TYPE_CHECKING:
    from collections.abc import Collection

    from matrixdata.model import JSON
    from matrixdata.protocol.requests import Request
    from matrixdata.transport.caller import Caller

log = logging.getLogger("matrixdata.receiving")

# Events of one room in one response; what is beyond comes through /messages, a thousand at a time.
TIMELINE_LIMIT = 100
# Events to this device in one response, which are stored in one transaction.
TO_DEVICE_LIMIT = 100
_CONNECTION = "matrixdata"


class TokenRefused(Exception):
    """The server does not know our sync token (any more)."""


class Source(Protocol):
    """One way to sync. Only the holder of the sync lease may poll."""

    kind: str
    """Names the token in the store: tokens of different sources must never be mixed."""

    async def poll(
        self, token: str | None, rooms: Collection[str], *, timeout_ms: int, keys_since: str | None = None
    ) -> SyncBatch:
        """One response covering these rooms, after at most `timeout_ms` without news.

        Args:
            token: where to go on; None: from the start.
            rooms: what to cover.
            timeout_ms: how long the server may wait for news.
            keys_since: ask for news of keys too, with the to-device stream from here on; "" from its start. A source
                without a token of its own for that stream goes by `token`. None: ask for none.

        Raises:
            TokenRefused: start again with None.
            NotSent, Unknown, RateLimited, LoggedOut, Rejected, Unsupported: as `Caller.call`.
        """
        ...


class SlidingSource:
    """Simplified sliding sync with one subscription a room: cost does not grow with the account's rooms.

    A connection in which a room was subscribed, then not, then again skips what the room got meanwhile
    (measured with Synapse). So a token is used only with the rooms it was got with, and more; it starts with
    their digest, by which the next process knows them.
    """

    kind = "sliding"

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._rooms: frozenset[str] | None = None
        self._digest = ""

    async def poll(
        self, token: str | None, rooms: Collection[str], *, timeout_ms: int, keys_since: str | None = None
    ) -> SyncBatch:
        """See `Source.poll`."""
        now, before = frozenset(rooms), self._rooms
        if now != before:
            self._digest = hashlib.sha256("\n".join(sorted(now)).encode()).hexdigest()[:16]
        digest, _, pos = (token or "").partition(" ")
        covers = digest == self._digest if before is None else before <= now
        batch = await self._poll(pos if covers and pos else None, now, timeout_ms, keys_since)
        self._rooms = now
        return replace(batch, token=f"{self._digest} {batch.token}")

    async def _poll(
        self, pos: str | None, rooms: Collection[str], timeout_ms: int, keys_since: str | None
    ) -> SyncBatch:
        wanted: dict[str, JSON] = {"timeline_limit": TIMELINE_LIMIT, "required_state": [["*", "*"]]}
        subscriptions: dict[str, JSON] = dict.fromkeys(rooms, wanted)
        body: dict[str, JSON] = {"conn_id": _CONNECTION, "lists": {}, "room_subscriptions": subscriptions}
        if keys_since is not None:
            since: dict[str, JSON] = {"since": keys_since} if keys_since else {}
            to_device: dict[str, JSON] = {"enabled": True, "limit": TO_DEVICE_LIMIT, **since}
            body["extensions"] = {"to_device": to_device, "e2ee": {"enabled": True}}
        request = requests.sliding_sync(body, pos=pos, timeout_ms=timeout_ms if pos else 0)
        return _parsed(parse_sliding, await _polled(self._caller, request, pos), anew=pos is None)


class V2Source:
    """GET /sync, filtered to the rooms we follow.

    One token covers every room in the filter, so a room once in it must stay in it; a room that joins it
    later is first brought up to date alone, without moving the token.
    """

    kind = "v2"

    def __init__(self, caller: Caller, covered: Collection[str] = ()) -> None:
        self._caller = caller
        self._covered = set(covered)

    async def poll(
        self, token: str | None, rooms: Collection[str], *, timeout_ms: int, keys_since: str | None = None
    ) -> SyncBatch:
        """See `Source.poll`. The to-device stream is covered by the token itself."""
        del keys_since
        fresh = set(rooms) - self._covered
        if token is None or fresh:
            chosen = fresh if token is not None else set(rooms) | self._covered
            batch = await self._sync(None, chosen, 0)
            self._covered |= chosen
            # Beyond the token the new rooms are covered twice, which is harmless; never not at all.
            keys = (
                None if token is not None else batch.keys
            )  # the next poll goes on with those from the token
            return SyncBatch(token or batch.token, batch.rooms, keys)
        return await self._sync(token, self._covered, timeout_ms)

    async def _sync(self, since: str | None, rooms: Collection[str], timeout_ms: int) -> SyncBatch:
        only: dict[str, JSON] = {
            "presence": {"types": []},
            "account_data": {"types": []},
            "room": {
                "rooms": [*sorted(rooms)],
                "timeline": {"limit": TIMELINE_LIMIT},
                "ephemeral": {"types": []},
                "account_data": {"types": []},
                "include_leave": True,
            },
        }
        request = requests.sync_v2(since=since, filter_json=json.dumps(only), timeout_ms=timeout_ms)
        return _parsed(parse_v2, await _polled(self._caller, request, since), anew=since is None)


async def _polled(caller: Caller, request: Request, token: str | None) -> bytes:
    try:
        return await caller.call(request, patience=0)
    except Rejected as error:
        # Measured: a lost connection is M_UNKNOWN_POS; a token the server cannot read is a plain M_UNKNOWN.
        if token is not None and error.status == 400 and error.errcode in {"M_UNKNOWN_POS", "M_UNKNOWN"}:
            raise TokenRefused(str(error)) from error
        raise


class _Parse(Protocol):
    def __call__(self, data: bytes, *, anew: bool) -> SyncBatch: ...


def _parsed(parse: _Parse, body: bytes, *, anew: bool) -> SyncBatch:
    try:
        batch = parse(body, anew=anew)
    except MalformedResponse as error:
        raise Unknown(f"the server's sync response is malformed: {error}") from error
    lost = sum(room.unreadable for room in batch.rooms)
    if lost:
        log.warning("the server sent %d events without a usable id; they cannot be kept", lost)
    if batch.keys is not None and batch.keys.unreadable:
        log.info("the server sent %d to-device events that are none", batch.keys.unreadable)
    return batch
