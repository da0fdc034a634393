"""Owner-only files and directories for the embedded homeserver.

Never relies on the umask of the caller, and never leaves a half-written file under its final name.
"""

from __future__ import annotations

import json
import os
import secrets
from typing import TYPE_CHECKING

from matrixdata.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matrixdata.model.json import JSON, JSONObject

OURS = "identity.json"
"""The file whose presence marks a directory as one that an embedded homeserver lives in."""


def make_private(directory: Path) -> None:
    """Make `directory` and its missing parents, readable by its owner only (mode 0700).

    Raises:
        Conflict: it exists, holds other files and no homeserver of ours, so that changing its mode and
            filling it would be rude; or it belongs to another user.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = directory.stat()
    if hasattr(os, "getuid") and state.st_uid != os.getuid():
        raise Conflict(f"{directory} belongs to another user; give a directory of your own")
    if not (directory / OURS).exists() and any(not _passing(entry) for entry in directory.iterdir()):
        raise Conflict(f"{directory} holds other files; give an empty or a new directory for the homeserver")
    if state.st_mode & 0o077:
        directory.chmod(0o700)


def _passing(entry: Path) -> bool:
    # Two that ask at once: the other may be here first, with nothing yet but its locks and temporary files.
    return entry.suffix == ".lock" or entry.name.startswith(".")


def write_private(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` with mode 0600, all of it or nothing."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_private_json(path: Path, value: Mapping[str, JSON]) -> None:
    """Write a JSON object to `path`, as `write_private` does. JSON is also YAML, which Synapse reads."""
    write_private(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> JSONObject | None:
    """The JSON object in `path`, or None if the file is absent, damaged or holds something else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def last_lines(path: Path, most: int = 12) -> list[str]:
    """The last lines of a log of any size; none if it is absent."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip()][-most:]
