"""Which way of syncing a server has: found out by asking, for versions alone do not tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from matrixdata.protocol import requests
from matrixdata.protocol.sync import MalformedResponse, decode
from matrixdata.receiving.sources import SlidingSource, Source, V2Source

if TYPE_CHECKING:
    from collections.abc import Collection

    from matrixdata.replica.rooms import Rooms
    from matrixdata.transport.caller import Caller


async def choose_source(caller: Caller, rooms: Rooms, lacking: Collection[str]) -> Source:
    """Simplified sliding sync where the server says it has it and it was not found `lacking`, /sync elsewhere."""
    body = await caller.call(requests.versions(), patience=0)
    try:
        features = decode(body, _Versions).unstable_features
    except MalformedResponse:
        features = {}
    if features.get("org.matrix.simplified_msc3575") and SlidingSource.kind not in lacking:
        return SlidingSource(caller)
    return V2Source(caller, await rooms.synced())


class _Versions(msgspec.Struct):
    versions: list[str] = []
    unstable_features: dict[str, bool] = {}
