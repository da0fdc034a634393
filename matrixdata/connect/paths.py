"""Where matrixdata keeps things: one directory a user, one below it for each profile."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from matrixdata.errors import NotFound
from matrixdata.replica.files import private_directory

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DEFAULT = "default-profile"


def data_home() -> Path:
    """The user's data directory; the environment variable MATRIXDATA_HOME chooses another."""
    chosen = os.environ.get("MATRIXDATA_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs  # noqa: PLC0415  only needed where the variable is not set

    return platformdirs.user_data_path("matrixdata", appauthor=False)


def server_directory() -> Path:
    """Where the embedded homeserver of this user lives."""
    return data_home() / "server"


def server_environment() -> Path:
    """Where `matrixdata server install` puts Synapse."""
    return data_home() / "synapse-env"


def profile_directory(profile: str) -> Path:
    """The store of a profile; a name made of letters, digits and . _ - .

    Raises:
        ValueError: the name could be anything else in a path.
    """
    if not _PLAIN.fullmatch(profile):
        raise ValueError(
            f"profile={profile!r}; use at most 64 letters, digits, '.', '_' and '-', not starting with '.'"
        )
    return data_home() / "profiles" / profile


def profile_of(user_id: str, homeserver: str) -> str:
    """The profile's name for a user who gave none: readable, and distinct for distinct users."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", user_id.lstrip("@")).strip("._-")[:40] or "user"
    digest = hashlib.sha256(f"{user_id}\0{urlsplit(homeserver).netloc}".encode()).hexdigest()[:8]
    return f"{readable}-{digest}"


def default_profile() -> str | None:
    """The profile that connect() opens; None when none was saved."""
    try:
        return (data_home() / _DEFAULT).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def set_default_profile(profile: str | None) -> None:
    """Make a profile the one that connect() opens; None for none.

    Raises:
        ValueError: the name cannot be a profile's.
    """
    home = private_directory(data_home())
    if profile is None:
        (home / _DEFAULT).unlink(missing_ok=True)
        return
    profile_directory(profile)  # checks the name
    from matrixdata.frames.atomic import written  # noqa: PLC0415  its package loads what frames need

    with written(home / _DEFAULT) as file:
        file.write(f"{profile}\n".encode())


def need_default_profile() -> str:
    """The default profile, or NotFound saying how to get one."""
    profile = default_profile()
    if profile is None:
        raise NotFound(
            "no saved login; run `matrixdata login https://your.homeserver`, or pass the homeserver's address with "
            'user= and password=, or try matrixdata.connect("local"), which needs no account'
        )
    return profile
