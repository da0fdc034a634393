"""The tests of the public API share one homeserver, and a collection that none of them changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import matrixdata as md
from tests.servers import TestServer

READINGS = [
    {"ts": f"2026-01-01T0{n}:00:00Z", "device": f"d{n % 3}", "temp": 20 + n / 4, "room": {"floor": n % 2}}
    for n in range(8)
]


@dataclass(frozen=True)
class Readings:
    """READINGS, one an hour, in a collection with the time field `ts`."""

    client: md.Client
    collection: md.Collection


@pytest.fixture(scope="module")
def readings(server_address, tmp_path_factory) -> Iterator[Readings]:
    shared = TestServer(server_address, tmp_path_factory.mktemp("readings"))
    client = shared.connect(shared.name("readings"))
    collection = client.create_collection("readings", time="ts", encrypted=False)
    assert collection.publish_many(READINGS, wait="synced").sent == len(READINGS)
    yield Readings(client, collection)
    client.close()
