"""Writing a file that appears complete or not at all. Knows nothing of what is written."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def written(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write to, which replaces `path` once the block ends without an error; its owner's alone.

    Raises:
        OSError: the directory is missing or cannot be written; nothing was replaced.
    """
    target = Path(path)
    # Said of what was asked for, not of the file beside it that nobody asked for.
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such directory", str(target.parent))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "this is a directory; name a file in it", str(target))
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:50]}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)  # noqa: PTH105  the pair of mkstemp's str
    except BaseException:
        with suppress(OSError):
            os.unlink(name)  # noqa: PTH108  as above
        raise
