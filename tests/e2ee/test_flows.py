"""Encrypted collections against the real Synapse: what works in clear works the same, and no server reads it."""

from __future__ import annotations

import pytest

from tests.servers import SCHEMA, Pair

ENCRYPTED = "m.room.encrypted"


@pytest.fixture
def sealed_pair(server) -> Pair:
    """Two clients in one encrypted collection, without cross-signing."""
    writer, reader = server.connect(server.name("writer")), server.connect(server.name("reader"))
    mine = writer.create_collection("greenhouse", schema=SCHEMA, trust="all", invite=[reader.user_id])
    return Pair(server, writer, reader, mine, reader.collection(mine.room_id, trust="all"))


def temps(collection, **how):
    return sorted(record.value["temp"] for record in collection.query(timeout=20, **how).records())


def test_what_is_published_encrypted_is_queried_and_subscribed_to(sealed_pair):
    pair = sealed_pair
    assert pair.mine.encrypted
    with pair.theirs.subscribe(start="all") as heard:
        for n in range(3):
            receipt = pair.mine.publish({"device": "d1", "temp": n + 0.5}, wait="sent")
            assert receipt.state in {"sent", "synced"}
        got = [next(heard).value["temp"] for _ in range(3)]
    assert got == [0.5, 1.5, 2.5]
    assert temps(pair.theirs) == temps(pair.mine) == [0.5, 1.5, 2.5]
    events = pair.raw(pair.writer).timeline(pair.room_id)
    assert [event["type"] for event in events if event["type"].startswith("io.matrixdata.record")] == []
    assert len([event for event in events if event["type"] == ENCRYPTED]) == 3
