"""Is a directory on a network filesystem? A store is not safe there, so it is refused with advice.

A write-ahead log needs memory that all its processes share, and locks that hold; over a network there is neither
(https://www.sqlite.org/wal.html), and the lease over syncing needs the same locks.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from matrixdata.errors import Unsupported

_NETWORK = frozenset({
    *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "afpfs", "webdav", "davfs"),
    *("coda", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "orangefs", "ocfs2", "gfs2", "vboxsf", "vmhgfs"),
    *("prl_fs", "sshfs", "s3fs", "rclone", "davfs2", "gvfsd-fuse", "gcsfuse", "goofys", "mount-s3", "seaweedfs"),
    *("juicefs", "vmhgfs-fuse", "curlftpfs", "blobfuse", "blobfuse2", "onedriver", "google-drive-ocamlfuse"),
})  # fmt: skip
# 9p is the disk of some sandboxes (gVisor), which is sound; over these it is another machine's, or Windows'.
_FAR_9P = re.compile(r"(?:^|,)(?:trans=(?:tcp|virtio|rdma|xen)|aname=drvfs)(?:[,;]|$)")
_MOUNTS, _MOUNT = Path("/proc/self/mountinfo"), Path("/sbin/mount")
_ESCAPE = re.compile(r"\\([0-7]{3})")


def refuse_network(directory: Path) -> None:
    """Raise where a store cannot be kept.

    Raises:
        Unsupported: the directory, or where it is to be made, is on a network filesystem.
    """
    kind = _network_kind(Path(directory).expanduser().resolve())
    if kind is not None:
        raise Unsupported(
            f"a store on a network filesystem ({kind})",
            f"{directory} is not on a disk of this machine, and SQLite would damage its files there; give store= a "
            "directory on a local disk (or set MATRIXDATA_HOME to one). The server keeps what was published",
        )


def _network_kind(path: Path) -> str | None:
    if str(path).startswith("\\\\"):
        return "a network share"  # Windows
    try:
        if _MOUNTS.exists():
            return from_mountinfo(_MOUNTS.read_text(encoding="utf-8", errors="replace"), str(path))
        if _MOUNT.exists():
            listed = subprocess.run([_MOUNT], capture_output=True, text=True, timeout=5, check=True)  # noqa: S603  a fixed path
            return from_mount(listed.stdout, str(path))
    except (OSError, subprocess.SubprocessError):
        pass
    return None  # nobody can tell


def from_mountinfo(text: str, path: str) -> str | None:
    """The network filesystem that an absolute path without symbolic links is on; None for a local one.

    Args:
        text: /proc/self/mountinfo, as proc_pid_mountinfo(5) describes it.
        path: the path.
    """
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        first, last = before.split(" "), after.split(" ")
        if len(first) > 4 and last[0]:
            point = _ESCAPE.sub(lambda found: chr(int(found[1], 8)), first[4])
            mounts.append((point, last[0], last[-1]))
    return _over(mounts, path)


def from_mount(text: str, path: str) -> str | None:
    """The same from what `mount` prints on macOS and the BSDs: "what on where (type, options)"."""
    found = re.findall(r"^.* on (.*) \((\w+)(?:, )?(.*)\)$", text, re.MULTILINE)
    return _over([(point, kind, options) for point, kind, options in found], path)


def _over(mounts: list[tuple[str, str, str]], path: str) -> str | None:
    """Of the mounts that a path is below, the innermost counts; of several on one place, the last."""
    best = max(
        (place for place in enumerate(mounts) if _below(path, place[1][0])),
        key=lambda place: (len(place[1][0].rstrip("/")), place[0]),
        default=None,
    )
    if best is None:
        return None
    _, kind, options = best[1]
    bare = kind.removeprefix("fuse.").removeprefix("macfuse_")
    if bare in _NETWORK or (kind == "9p" and _FAR_9P.search(options)):
        return kind
    return None


def _below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")
