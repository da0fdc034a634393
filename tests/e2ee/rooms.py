"""What tests of encrypted collections share: two clients in one, and a look at ciphertexts that decrypts nothing."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers import SCHEMA, Pair, TestServer

if TYPE_CHECKING:
    from matrixdata import Collection
    from tests.servers import RawUser

ENCRYPTED = "m.room.encrypted"


@pytest.fixture
def sealed_pair(server: TestServer) -> Pair:
    """Two clients in one encrypted collection, each taking whatever device the server lists."""
    writer, reader = server.connect(server.name("writer")), server.connect(server.name("reader"))
    mine = writer.create_collection("greenhouse", schema=SCHEMA, trust="all", invite=[reader.user_id])
    return Pair(server, writer, reader, mine, reader.collection(mine.room_id, trust="all"))


def sealed(raw: RawUser, room_id: str) -> list[dict[str, Any]]:
    """The encrypted events of a room, oldest first."""
    return [event for event in raw.timeline(room_id) if event["type"] == ENCRYPTED]


def used(event: dict[str, Any]) -> tuple[str, int]:
    """Session and message index of an encrypted event, read from the message's own bytes (spec "Megolm")."""
    text = event["content"]["ciphertext"]
    message = base64.b64decode(text + "=" * (-len(text) % 4))
    assert message[:2] == b"\x03\x08"
    index = shift = 0
    for byte in message[2:]:
        index |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return event["content"]["session_id"], index


def temps(collection: Collection, **how: Any) -> list[float]:
    return [record.value["temp"] for record in collection.query(timeout=20, **how).records()]


def reading(number: float) -> dict[str, Any]:
    return {"device": "d1", "temp": number}
