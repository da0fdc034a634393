"""A full disk: StoreFull to whoever writes, nothing acknowledged that is not stored; with room again it goes on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import matrixdata as md
from tests.faults.harness import Break, fault, run
from tests.requirements import require
from tests.servers import CUT, SCHEMA, uids, wait_until

pytestmark = pytest.mark.server

FULL = Break("matrixdata/replica/failures.py", '    "SQLITE_FULL",\n', "")
SOURCE_KEPT = Break("matrixdata/transport/caller.py", "ceiling = min(self.most,", "ceiling = max(999.0,")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 8 MB."""
    require("small-disk")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path) -> Path:
    """Leave little of it."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - 60_000))
    return ballast


def reading(number):
    return {"device": "d" * 3000, "temp": number}


@fault("F23", broken=(FULL, SOURCE_KEPT))
def test_on_a_full_disk_nothing_unstored_is_acknowledged_and_all_goes_on_once_there_is_room(
    server, small_disk
):
    name, network = server.name("writer"), server.proxy()
    account = {**server.account(name, url=network.url), "store": small_disk / "store"}
    client = md.connect(**account)
    server.open.append(client)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    raw = server.raw(name)
    readings.publish(reading(0), uid="first", wait="synced", timeout=20)

    ballast = fill(small_disk)
    network.fault = lambda seen: CUT if seen.is_send else None
    accepted = []

    def publish_more():
        for number in range(1, 400):
            readings.publish(reading(number), uid=f"u{number}", wait="queued")
            accepted.append(f"u{number}")

    with pytest.raises(md.StoreFull, match="Free some space"):
        publish_more()
    with pytest.raises(md.StoreFull):
        readings.publish_many([reading(n) for n in range(50)], wait="queued")
    with pytest.raises(md.StoreFull):
        client.create_collection("x" * 200, schema=SCHEMA, encrypted=False)
    # Others go on, and what they write finds no room here.
    named = raw.records(readings.room_id)[0]["content"]
    theirs = [raw.send(readings.room_id, {**named, "uid": f"t{n}"}) for n in range(30)]
    wait_until(lambda: "db cannot be written" in str(client.status().problem))
    assert readings.query(timeout=0, on_incomplete="ignore").count() >= 1  # what is here can be read

    ballast.unlink()
    network.fault = lambda _: None
    wait_until(lambda: client.status().queued == 0)
    last = readings.publish(reading(999), uid="last", timeout=20)
    assert last.state in {"sent", "synced"}
    wait_until(lambda: client.status().problem is None)
    on_the_server = raw.records(readings.room_id)
    assert [uid for uid in uids(on_the_server) if uid[0] != "t"] == ["first", *accepted, "last"]
    assert accepted
    records = readings.query(timeout=30, on_incomplete="raise").records()
    assert sorted(record.uid for record in records) == sorted(uids(on_the_server))
    assert {record.event_id for record in records} >= set(theirs)


LIMITED = """
import resource
import matrixdata as md
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
readings = client.collection("readings")
readings.query().count()
largest = max(os.path.getsize(os.path.join(sys.argv[3], name)) for name in os.listdir(sys.argv[3]))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 60_000, hard))
accepted, refused = [], None
for number in range(300):
    try:
        readings.publish({"device": "d" * 3000, "temp": number}, uid=f"u{number}", wait="queued")
        accepted.append(f"u{number}")
    except md.StoreFull as error:
        refused = number
        break
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
readings.publish({"device": "d", "temp": 1}, uid="after", wait="sent", timeout=30)
print(refused, *accepted)
"""


@fault("F23", broken=Break("matrixdata/replica/failures.py", '    "SQLITE_IOERR_WRITE",\n', ""))
def test_a_limit_on_the_size_of_files_is_a_full_disk_too(server):
    pytest.importorskip("resource")
    name = server.name("writer")
    client = server.connect(name)
    readings = client.create_collection("readings", schema=SCHEMA, encrypted=False)
    client.close()
    account = server.account(name)
    done = run(LIMITED, account["homeserver"], account["user"], str(account["store"]))
    assert done.returncode == 0, done.stderr
    refused, *accepted = done.stdout.split()
    assert int(refused) == len(accepted) > 0
    with server.connect(name) as again:
        wait_until(lambda: again.status().queued == 0)
    assert uids(server.raw(name).records(readings.room_id)) == [*accepted, "after"]
