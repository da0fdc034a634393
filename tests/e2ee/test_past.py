"""Keys of a room's past for those who are invited (MSC4268), over a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2ee.rooms import reading, temps
from tests.servers import SCHEMA, Answer, wait_until

if TYPE_CHECKING:
    from matrixdata import Client, Collection
    from tests.servers import RawUser, Seen, TestServer

pytestmark = pytest.mark.server


def is_signed(client: Client, seen_by: RawUser) -> bool:
    """Whether a client's device is signed by its owner, as the server shows it to others."""
    answer = seen_by.call("POST", "keys/query", {"device_keys": {client.user_id: []}})
    devices = answer["device_keys"].get(client.user_id, {})
    return any(len(it["signatures"][client.user_id]) > 1 for it in devices.values())


def joined(server: TestServer, writer: Client, reader: Client, *, by_id: bool = False) -> Collection:
    """A collection with a record from before the reader's invite and one from after it, as the reader has it."""
    other = server.raw(server.name("looker"))
    wait_until(lambda: is_signed(reader, other) and is_signed(writer, other))
    mine = writer.create_collection("greenhouse", schema=SCHEMA)
    mine.publish(reading(1), wait="sent")
    mine.invite(reader.user_id)
    mine.publish(reading(2), wait="sent")
    [invite] = wait_until(reader.invites)
    return reader.collection(invite.room_id) if by_id else invite.accept(name="theirs")


@pytest.mark.parametrize("by_id", [False, True], ids=["accepts the invite", "opens the room by its id"])
def test_who_is_invited_later_reads_what_was_published_before(server: TestServer, *, by_id: bool) -> None:
    writer, reader = server.connect(server.name("writer")), server.connect(server.name("later"))
    theirs = joined(server, writer, reader, by_id=by_id)

    wait_until(lambda: temps(theirs, on_incomplete="ignore") == [1, 2])
    assert theirs.query().completeness.complete
    # Both were written with one key, which the writer's device gave as well, from the second on: it vouches for it.
    vouched = ("cross-signed", writer.keys.status().device_id)
    assert [(it.standing, it.device) for it in theirs.history() if it.encrypted] == [vouched] * 2


def refused(seen: Seen) -> Answer | None:
    return (
        Answer(413, b'{"errcode":"M_TOO_LARGE"}')
        if "/upload" in seen.path and "/media/" in seen.path
        else None
    )


def changed(seen: Seen) -> object:
    if "/media/download" in seen.path:
        return lambda content: bytes([content[0] ^ 1]) + content[1:]
    return None


@pytest.mark.parametrize("fault", [refused, changed], ids=["no upload", "another file"])
def test_keys_of_the_past_that_cannot_be_had_cost_nothing_else(server: TestServer, fault: object) -> None:
    network = server.proxy()
    writer = server.connect(server.name("writer"), url=network.url)
    reader = server.connect(server.name("later"), url=network.url)
    network.fault = fault
    theirs = joined(server, writer, reader)

    wait_until(lambda: temps(theirs, on_incomplete="ignore") == [2])
    if fault is changed:
        wait_until(lambda: any("/media/download" in seen.path for seen in network.seen))
    assert temps(theirs, on_incomplete="ignore") == [2]
    [lost] = [event for event in theirs.history() if event.row_state == "undecryptable"]
    assert lost.cause == "too_early"
