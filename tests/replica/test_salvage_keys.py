"""Stores that were damaged or put back: no ratchet is used again, and what is known of rooms and people is kept."""

from __future__ import annotations

import shutil
from itertools import count

import anyio
import pytest

from matrixdata.encryption import outbound, recipients
from matrixdata.encryption.engine import Engine
from matrixdata.encryption.transaction import Me, Transaction
from matrixdata.errors import StoreCorrupt
from matrixdata.replica.failures import Damaged
from matrixdata.replica.mark import Mark
from matrixdata.replica.salvage import salvage
from matrixdata.replica.store import Store
from tests.faults.harness import Break, fault

ROOM = "!room:one.example"
ids = count(1)
ME = Me("@alice:one.example", "PHONE", b"k" * 32, lambda: 1_700_000_000_000_000, lambda: f"id{next(ids)}")
ENGINE = Engine(ME)


def written(directory):
    """The (session, index) that a message in the room was encrypted with, by a process that came and went."""

    def encrypt(c):
        ENGINE.open(c)
        ENGINE.note_room(c, ROOM, b"{}")
        recipients.set_policy(Transaction(c, ME), ROOM, "verified", ["@bob:one.example"])
        for request in ENGINE.prepare(c, ROOM, [ME.user_id]).requests:
            ENGINE.answered(c, request.id, {"device_keys": {ME.user_id: {}}})
        assert not ENGINE.prepare(c, ROOM, [ME.user_id]).requests
        encrypted = ENGINE.encrypt(c, ROOM, "org.example.reading", b"{}")
        return encrypted.session_id, encrypted.index

    async def run():
        store = Store(directory)
        try:
            return await store._account.write(encrypt)
        finally:
            await store.aclose()

    return anyio.run(run)


@fault(
    "F28",
    broken=Break("matrixdata/replica/salvage.py", "    for table in _RATCHETS:", "    for table in ():"),
)
def test_no_ratchet_of_a_store_that_was_put_back_is_used_again(tmp_path):
    store, copy = tmp_path / "store", tmp_path / "copy"
    used = [written(store)]
    shutil.copytree(store, copy)
    used += [written(store), written(store)]
    for name in ("account.db", "account.db-wal", "account.db-shm"):
        (store / name).unlink(missing_ok=True)
        if (copy / name).exists():
            shutil.copy(copy / name, store / name)
    with pytest.raises(StoreCorrupt, match="another copy was put in its place"):
        Store(store)
    used += [written(store), written(store)]

    assert len(set(used)) == len(used)
    assert len({session for session, _ in used}) == 2


def test_what_is_saved_of_a_damaged_store_knows_its_rooms_and_uses_no_ratchet_again(tmp_path):
    used = [written(tmp_path), written(tmp_path)]
    told = salvage(tmp_path / "account.db", Mark(tmp_path / "account.mark"), Damaged("it is damaged"))
    assert "Connect again" in str(told)

    async def what_is_known():
        store = Store(tmp_path)
        try:
            return await store._account.read(
                lambda c: (
                    outbound.encrypted_rooms(Transaction(c, ME)),
                    recipients.policy(Transaction(c, ME), ROOM),
                    c.execute("SELECT count(*) FROM megolm_inbound").fetchone()[0],
                )
            )
        finally:
            await store.aclose()

    rooms, policy, keys = anyio.run(what_is_known)
    assert rooms == {ROOM}
    assert policy == recipients.RoomPolicy("verified", frozenset({"@bob:one.example"}))
    assert keys == 1
    used += [written(tmp_path), written(tmp_path)]
    assert len(set(used)) == len(used)
    assert len({session for session, _ in used}) == 2
