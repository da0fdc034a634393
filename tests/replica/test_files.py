"""Files of a store are their owner's alone, and on a disk where a store can be kept."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import matrixdata as md
from matrixdata.connect import paths
from matrixdata.replica import mounts
from matrixdata.replica.files import put_aside
from matrixdata.replica.mounts import from_mount, from_mountinfo
from matrixdata.replica.store import Store

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[0o022, 0o000], ids=["umask 022", "umask 000"])
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(top):
    return {path: stat.S_IMODE(path.lstat().st_mode) for path in (top, *top.rglob("*"))}


@pytest.mark.usefixtures("umask")
async def test_every_file_and_directory_is_for_its_owner_alone(tmp_path, monkeypatch):
    home = tmp_path / "data" / "home"
    monkeypatch.setenv("MATRIXDATA_HOME", str(home))
    directory = paths.profile_directory("lab")
    paths.set_default_profile("lab")
    store = Store(directory)
    await store.rooms.lead()
    await store.account.bind("readings", "!room:example.org")
    assert store.send_lease.acquire()
    assert store.sync_lease.acquire()
    open_ones = modes(home)
    await store.aclose()
    (directory / "account.db").write_bytes(b"garbage" * 1000)
    (directory / "replica.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(md.StoreCorrupt):
        Store(directory)
    again = Store(directory)
    closed_ones = modes(home)
    await again.aclose()
    names = {path.name for path in {**open_ones, **closed_ones}}
    assert {
        "account.db-wal",
        "replica.db-shm",
        "account.mark",
        "mend.lock",
        "send.lock",
        "default-profile",
    } <= names
    assert [name for name in names if name.startswith("account.db.damaged")]
    assert [name for name in names if name.startswith("replica.db.damaged")]
    for path, mode in [*open_ones.items(), *closed_ones.items()]:
        assert mode == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["account.db", "replica.db-wal", "replica.db-shm"])
async def test_a_symbolic_link_in_the_place_of_a_file_is_not_followed(tmp_path, name):
    directory = tmp_path / "store"
    await Store(directory).aclose()
    target = tmp_path / "target"
    target.write_bytes(b"somebody else's")
    (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to(target)
    with pytest.raises(md.MatrixDataError, match="not a plain file"):
        Store(directory)
    assert target.read_bytes() == b"somebody else's"


async def test_what_others_could_read_is_closed_to_them(tmp_path):
    directory = tmp_path / "store"
    await Store(directory).aclose()
    for name in ("account.db", "replica.db"):
        (directory / name).chmod(0o644)
    store = Store(directory)
    found = modes(directory)
    await store.aclose()
    assert {mode for path, mode in found.items() if path != directory} == {0o600}


async def test_a_file_put_aside_while_it_is_open_does_no_harm_to_its_successor(tmp_path):
    """Another process replaced the replica: what we still have open must not touch the new files when it is closed."""
    directory = tmp_path / "store"
    first = Store(directory)
    await first.rooms.lead()
    name = first.rooms.replica
    async with first._replica.snapshot() as held:
        kept = put_aside(directory / "replica.db")
        second = Store(directory)
        await second.rooms.lead()
        assert await held.run(
            lambda c: c.execute("SELECT value FROM meta WHERE key = 'replica'").fetchone()
        ) == (name,)
        assert await first.rooms.token("v2") is None  # goes on with the new one
        assert first.rooms.replica == second.rooms.replica != name
    await first.aclose()
    assert await second.rooms.token("v2") is None
    await second.aclose()
    assert kept.exists()
    third = Store(directory)
    assert third.rooms.replica == second.rooms.replica
    await third.aclose()


MOUNTINFO = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
25 22 0:23 / /tmp rw,nosuid shared:5 - tmpfs tmpfs rw
40 22 0:40 / /home rw,relatime shared:20 - nfs4 nas:/home rw,vers=4.2
41 40 8:2 / /home/ada/local rw,relatime - xfs /dev/sdb1 rw
42 22 0:42 / /mnt/My\040Share rw - cifs //nas/share rw,vers=3.0
43 22 0:43 / /mnt/ssh rw - fuse.sshfs ada@host: rw,user_id=1000
44 22 0:44 / /mnt/c rw - 9p C:\134 rw,aname=drvfs;path=C:\;uid=0,trans=fd,rfd=8
45 22 0:45 / /mnt/host rw - 9p hostshare rw,trans=virtio,version=9p2000.L
46 22 0:46 / /mnt/ntfs rw - fuseblk /dev/sdc1 rw
47 22 0:47 / /mnt/guest rw - virtiofs share rw
48 22 0:48 / /twice rw - nfs nas:/a rw
49 48 0:49 / /twice rw - ext4 /dev/sdd1 rw
broken line
"""
SANDBOX = "1 0 0:1 / / rw - 9p none rw,trans=fd,rfdno=4,wfdno=4,aname=/,dfltuid=4294967294"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/x", None),
        ("/tmp/x", None),
        ("/home", "nfs4"),
        ("/home/ada/.local", "nfs4"),
        ("/home/ada/local/store", None),
        ("/home/ada/localised", "nfs4"),
        ("/homeless", None),
        ("/mnt/My Share/store", "cifs"),
        ("/mnt/ssh/store", "fuse.sshfs"),
        ("/mnt/c/Users", "9p"),
        ("/mnt/host/store", "9p"),
        ("/mnt/ntfs/store", None),
        ("/mnt/guest/store", None),
        ("/twice/store", None),
    ],
)
def test_network_filesystems_are_told_from_local_ones(path, kind):
    assert from_mountinfo(MOUNTINFO, path) == kind


def test_a_sandbox_whose_disk_is_shown_as_9p_is_local():
    assert from_mountinfo(SANDBOX, "/root/store") is None


def test_what_mount_prints_elsewhere_is_understood():
    text = "/dev/disk1s1 on / (apfs, local, journaled)\n//ada@nas/share on /Volumes/My Share (smbfs, nodev, nosuid)\n"
    assert from_mount(text, "/Users/ada") is None
    assert from_mount(text, "/Volumes/My Share/store") == "smbfs"


def test_a_store_on_a_network_filesystem_is_refused_with_advice_and_nothing_is_made_there(
    tmp_path, monkeypatch
):
    listed = tmp_path / "mountinfo"
    listed.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / {tmp_path} rw - nfs4 nas:/x rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", listed)
    with pytest.raises(md.Unsupported, match=r"nfs4.*store="):
        Store(tmp_path / "store")
    assert not (tmp_path / "store").exists()
    assert Path(tmp_path).exists()
