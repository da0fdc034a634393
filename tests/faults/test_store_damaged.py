"""Damaged store files: what the server has comes back, what it has not is saved as far as it can be read, and named."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import shutil
import sqlite3
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

import matrixdata as md
from tests.faults.harness import Break, fault, run, was_killed
from tests.servers import SCHEMA, Proxy, TestServer, uids, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.server

FILE = "matrixdata/replica/file.py"
BEGINNING = "matrixdata/receiving/beginning.py"


@dataclass
class Desk:
    """A writer with a collection, whose process comes and goes."""

    server: TestServer
    network: Proxy
    name: str
    client: md.Client
    readings: md.Collection
    store: Path

    def again(self) -> md.Client:
        return self.server.connect(self.name, url=self.network.url)

    def on_the_server(self) -> list[dict[str, object]]:
        return self.server.raw(self.name).records(self.readings.room_id)

    def kept(self, name: str) -> Path:
        """The one damaged file that was put aside."""
        (found,) = [each for each in self.store.iterdir() if re.fullmatch(name + r"\.damaged-\w+", each.name)]
        assert stat.S_IMODE(found.stat().st_mode) == 0o600
        return found


@pytest.fixture
def desk(server):
    network, name = server.proxy(), server.name("writer")
    client = server.connect(name, url=network.url)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    return Desk(server, network, name, client, readings, server.account(name)["store"])


def reading(number):
    return {"device": "d1", "temp": number, "n": number}


def publish(readings, numbers, **options):
    return [readings.publish(reading(n), uid=f"u{n}", **options) for n in numbers]


def edited(path, edit):
    content = bytearray(path.read_bytes())
    edit(content)
    path.write_bytes(content)


def tear(content):
    """What a lost sector leaves, in the middle of the file."""
    start = len(content) // 2 // 4096 * 4096
    content[start : start + 8192] = random.Random(1).randbytes(8192)


def behead(content):
    content[:100] = bytes(100)


def cut(content):
    del content[len(content) // 3 :]


def flip_a_value(content):
    """One bit of one number, wherever that record is kept: SQLite has no way to notice."""
    content[:] = content.replace(b'"temp":7', b'"temp":6')


def forget_cache(database):
    """What a long run would do: no page of the file stays in memory."""
    with database._writing:
        database._writer.execute("PRAGMA shrink_memory")
        while database._idle:
            database._idle.pop().close()


# --- the replica -------------------------------------------------------------------------------------


@fault(
    "F25",
    broken=Break(
        FILE,
        "            if self.precious:\n                raise\n            self.replace",
        "            raise\n            self.replace",
    ),
)
@pytest.mark.parametrize("harm", [tear, behead, cut])
def test_a_damaged_replica_is_kept_aside_and_rebuilt_from_the_server(desk, harm):
    publish(desk.readings, range(20), wait="synced", timeout=30)
    before = desk.readings.query().records()[0].position
    desk.client.close()
    edited(desk.store / "replica.db", harm)
    again = desk.again()
    readings = again.collection("readings")  # the name was bound in account.db
    records = readings.query().records()
    assert [record.uid for record in records] == uids(desk.on_the_server())
    assert len(records) == 20
    assert records[0].position.replica != before.replica
    kept = desk.kept("replica.db")
    assert kept.name in str(again.status().store)
    with pytest.raises(md.MatrixDataError, match="another replica"):
        readings.query(as_of=before).records()


def rebuilt(desk):
    """The collection after three of six records were handled under a cursor, forty more came, and damage."""
    notes = desk.client.create_collection("notes", encrypted=False)
    notes.publish_many([reading(n) for n in range(6)])  # which share an event
    with notes.subscribe(start="all", cursor="job") as subscription:
        got = [subscription.get(timeout=10) for _ in range(3)]
    desk.client.close()
    raw = desk.server.raw(desk.name)
    for n in range(6, 46):  # more than a first response holds
        raw.send(notes.room_id, {"v": 1, "uid": f"u{n}", "value": reading(n)})
    edited(desk.store / "replica.db", behead)
    return got[-1], desk.again().collection("notes")


def handed_out(collection, most, **options):
    """Whether it began by saying that the replica was rebuilt, and behind what; and the records' numbers."""
    with collection.subscribe(cursor="job", **options) as subscription:
        items = list(itertools.islice(subscription.events(timeout=10), most + 1))
        with pytest.raises(TimeoutError):
            subscription.get(timeout=0.1)
    assert isinstance(items[0], md.Rebuilt)
    return items[0].after, [item.value["n"] for item in items[1:]]


@pytest.mark.parametrize("start", ["new", "all"])
@fault("F25", broken=Break(BEGINNING, "return await _behind(sources, room_id, saved)", "return None"))
def test_a_cursor_goes_on_behind_its_last_record_in_a_rebuilt_replica(desk, start):
    last, readings = rebuilt(desk)
    after, numbers = handed_out(readings, 43, start=start)
    assert after == last.event_id
    assert numbers == list(range(3, 46))
    with readings.subscribe(cursor="job") as subscription:  # as ever
        publish(readings, [46])
        assert subscription.get(timeout=10).value == reading(46)


@fault(
    "F25",
    broken=Break("matrixdata/receiving/freshness.py", "return None  # so that not", "raise  # so that not"),
)
def test_a_cursor_whose_last_record_the_server_lost_says_so_and_begins_by_start(desk):
    _, readings = rebuilt(desk)
    with contextlib.closing(sqlite3.connect(desk.store / "account.db")) as account:
        account.execute("UPDATE cursor SET event_id = '$of-no-room'")
        account.commit()
    assert handed_out(readings, 46, start="all") == (None, list(range(46)))


@fault(
    "F25",
    broken=Break(
        "matrixdata/replica/scan.py",
        "if total is not None and total != record_sum(event_id, sender, uid, time, value):",
        "if False:",
    ),
)
def test_a_flipped_bit_in_a_record_is_never_an_answer(desk):
    publish(desk.readings, range(20), wait="synced", timeout=30)
    desk.client.close()
    edited(desk.store / "replica.db", flip_a_value)
    again = desk.again().collection("readings")
    with pytest.raises(md.StoreCorrupt, match="rebuilt from the server"):
        again.query().values()
    assert again.query().values() == [reading(n) for n in range(20)]


@fault(
    "F25",
    broken=Break(
        "matrixdata/replica/database.py", "if self._damage is not None or now != self._id:", "if False:"
    ),
)
def test_damage_met_while_running_is_mended_without_a_restart(desk):
    publish(desk.readings, range(20), wait="synced", timeout=30)
    subscription = desk.readings.subscribe().__enter__()
    edited(
        desk.store / "replica.db",
        lambda content: content.__setitem__(slice(4096, None), bytes(len(content) - 4096)),
    )
    (desk.store / "replica.db-wal").write_bytes(b"")
    forget_cache(desk.client._client._store._replica)
    with contextlib.suppress(md.StoreCorrupt):  # this, or the sync loop before it, meets the damage
        desk.readings.query(timeout=0).values()
    receipt = publish(desk.readings, [20])[0]  # account.db is another file
    assert receipt.state in {"sent", "synced"}
    wait_until(lambda: len(desk.readings.query(on_incomplete="ignore").values()) == 21)
    assert desk.readings.query().values() == [reading(n) for n in range(21)]
    with pytest.raises(md.StoreCorrupt, match="subscribe again"):
        list(subscription)
    assert desk.client.status().connected
    assert "damaged" in desk.client.status().store


# --- what no server can give back --------------------------------------------------------------------


@pytest.mark.parametrize("harm", [tear, behead, cut])
@fault(
    "F25",
    broken=Break(
        "matrixdata/replica/store.py",
        "raise salvage(path, mark, damage) from damage",
        "path.unlink(); database = Database(path, kind='account', synchronous='FULL')",
    ),
)
def test_a_damaged_outbox_is_saved_as_far_as_it_can_be_read_and_the_rest_is_named(desk, harm):
    desk.network.down()
    publish(desk.readings, range(60), wait="queued")
    desk.client.close()
    desk.network.up()
    edited(desk.store / "account.db", harm)
    with pytest.raises(md.StoreCorrupt) as caught:
        desk.again()
    told = str(caught.value)
    assert "damaged" in told
    assert "onnect again to go on" in told
    kept = desk.kept("account.db")
    assert caught.value.kept == str(kept)
    saved = int(re.search(r"(\d+) records of the outbox,", told)[1])
    lost = re.search(r"(\d+) records of the outbox are lost", told)
    assert saved + (int(lost[1]) if lost else 0) == 60 or "cannot be known" in told
    again = desk.again()
    wait_until(lambda: again.status().queued == 0)
    arrived = uids(desk.on_the_server())
    assert len(arrived) == len(set(arrived)) == saved
    named = re.search(r"\(uid ([^)]*)\)", told)
    if named:
        assert set(named[1].split(", ")).isdisjoint(arrived)


@fault("F25", broken=Break("matrixdata/replica/outbox.py", "if checksum(item) == row[-1]:", "if True:"))
def test_a_record_that_decayed_in_the_outbox_is_listed_and_never_sent(desk):
    desk.network.down()
    publish(desk.readings, range(20), wait="queued")
    desk.client.close()
    desk.network.up()
    edited(desk.store / "account.db", flip_a_value)
    again = desk.again()
    wait_until(lambda: again.status().queued == 0)
    records = desk.on_the_server()
    assert uids(records) == [f"u{n}" for n in range(20) if n != 7]

    def stuck():
        return [(item.uid, item.reason) for item in again.outbox.list() if item.state == "stuck"]

    assert stuck() == [("u7", "damaged")]
    with pytest.raises(md.NotFound):
        again.outbox.retry("u7")
    again.outbox.cancel("u7")
    assert stuck() == []


PUBLISH = """
import matrixdata as md
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
readings = client.collection("readings")
for number in range(15):
    readings.publish({"device": "d1", "temp": number}, uid=f"u{number}", wait="queued")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("harm", ["deleted", "truncated", "older copy"])
@fault("F25", broken=Break("matrixdata/replica/mark.py", "if marked[1] <= commits:", "if True:"))
def test_accepted_records_that_vanished_with_the_journal_are_counted(desk, harm):
    desk.client.close()
    path, journal = desk.store / "account.db", desk.store / "account.db-wal"
    shutil.copy(path, desk.store / "older")
    desk.network.down()
    account = desk.server.account(desk.name, url=desk.network.url)
    done = run(PUBLISH, desk.network.url, account["user"], str(desk.store))
    assert was_killed(done), done.stderr
    size = journal.stat().st_size
    assert size
    if harm == "truncated":
        os.truncate(journal, size // 2)
    else:
        journal.unlink()
        (desk.store / "account.db-shm").unlink()
    if harm == "older copy":
        shutil.copy(desk.store / "older", path)
    desk.network.up()
    with pytest.raises(md.StoreCorrupt) as caught:
        desk.again()
    told = str(caught.value)
    gone = int(re.search(r"(\d+) records? accepted in them", told)[1])
    again = desk.again()
    wait_until(lambda: again.status().queued == 0)
    arrived = uids(desk.on_the_server())
    assert arrived == [f"u{n}" for n in range(15 - gone)]
    assert gone
    again.collection("readings").publish({"device": "d1", "temp": 99}, uid="later")
    again.close()
    desk.again()  # once told, it is over


def test_a_journal_that_is_whole_after_a_kill_is_no_loss(desk):
    desk.client.close()
    desk.network.down()
    assert was_killed(run(PUBLISH, desk.network.url, desk.server.account(desk.name)["user"], str(desk.store)))
    desk.network.up()
    again = desk.again()
    wait_until(lambda: again.status().queued == 0)
    assert uids(desk.on_the_server()) == [f"u{n}" for n in range(15)]
    assert again.status().store is None
