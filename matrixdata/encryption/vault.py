"""The key that seals a store's secrets: in the operating system's keyring where there is one, else in a private file.

The file `keys.secret` beside the databases says where it is. The one module of encryption that touches files.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from matrixdata.encryption.unpadded import decoded, encoded
from matrixdata.errors import MatrixDataError, StoreCorrupt, StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger("matrixdata.encryption")

FILE = "keys.secret"
_IN_FILE, _IN_KEYRING = "key ", "keyring "
_SERVICE = "matrixdata"
_KEY = 32
# What file systems without hard links say.
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class Keyring(Protocol):
    """A place that the operating system guards. Any failure is an OSError."""

    def get(self, name: str) -> str | None:
        """The entry of that name, None where there is none."""
        ...

    def put(self, name: str, text: str) -> None:
        """Keep an entry."""
        ...

    def remove(self, name: str) -> None:
        """Drop an entry."""
        ...


def _none() -> None:
    return None


def pickle_key(
    directory: Path, *, find_keyring: Callable[[], Keyring | None] = _none, in_use: bool = False
) -> bytes:
    """The store's key: 32 bytes, made at first use.

    Args:
        directory: of the store, its owner's alone.
        find_keyring: gives where a new key is kept, None for the file. Called only when it has to be known.
        in_use: secrets are sealed with it already, so that a new one would lose them.

    Raises:
        StoreCorrupt: it is gone, or not to be had now; the message says what to do.
        StoreFull: it cannot be written.
        MatrixDataError: the file is a link, or another user's.
    """
    path = directory / FILE
    where = _read(path)
    if where is None:
        if in_use:
            raise StoreCorrupt(
                f"{path} is gone, and with it the key of this store's secrets. Put it back from a copy. Else "
                "log in anew with another store=, with recovery_key= to read what is encrypted; what is queued "
                "here can still be sent from this store once the encryption keys are dropped: see docs/encryption.md",
                path=str(path),
            )
        where = _make(path, find_keyring())
    return _key(where, path, find_keyring)


def _key(where: str, path: Path, find_keyring: Callable[[], Keyring | None]) -> bytes:
    text: str | None
    if where.startswith(_IN_KEYRING):
        name, keyring = where.removeprefix(_IN_KEYRING), find_keyring()
        try:
            text = keyring.get(name) if keyring else None
        except OSError as error:
            raise StoreCorrupt(
                f"the key of this store is in the keyring, which cannot be read now ({error}); unlock it and try again",
                path=str(path),
            ) from error
        if text is None:
            raise StoreCorrupt(
                f"the key of this store is entry {name} of {_SERVICE} in the keyring, which is not there; unlock the "
                "keyring, or run as the user and on the machine that made this store (and install "
                "matrixdata[keyring])",
                path=str(path),
            )
    else:
        text = where.removeprefix(_IN_FILE)
    key = decoded(text, length=_KEY)
    if key is None:
        raise StoreCorrupt(f"{path} does not hold a key; put it back from a copy", path=str(path))
    return key


def _make(path: Path, keyring: Keyring | None) -> str:
    """Make a key and note where it is. Of several processes at once, the first one's counts for all."""
    key, name = encoded(os.urandom(_KEY)), os.urandom(8).hex()
    where = _IN_FILE + key
    if keyring is not None:
        try:
            keyring.put(name, key)
        except OSError as error:
            log.info("the keyring takes nothing (%s): the store's key is kept in %s", error, path)
        else:
            where = _IN_KEYRING + name
    if _write(path, where):
        return where
    if keyring is not None and where.startswith(_IN_KEYRING):
        with suppress(OSError):
            keyring.remove(name)
    return _read(path) or where


def _write(path: Path, text: str) -> bool:
    """Write the file whole or not at all; False where it is already there."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            os.write(fd, text.encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        _claim(draft, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise StoreFull(f"{path} cannot be written ({error.strerror}); free some space") from error
    finally:
        draft.unlink(missing_ok=True)
    _sync_directory(path)
    return True


def _claim(draft: Path, path: Path) -> None:
    """Give the draft its name, unless something has it: a rename would replace that."""
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        draft.replace(path)


def _read(path: Path) -> str | None:
    try:
        info = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(info.st_mode):
        raise MatrixDataError(f"{path} is not a plain file; remove it, or give another store=")
    if sys.platform != "win32":
        if info.st_uid != os.getuid():
            raise MatrixDataError(f"{path} belongs to another user; give another store=")
        if info.st_mode & 0o077:
            log.warning(
                "%s could be read by others; it is private again. Who read it can read this store", path
            )
            path.chmod(0o600)
    return path.read_text(encoding="utf-8", errors="replace").strip()


def _sync_directory(path: Path) -> None:
    if sys.platform != "win32":  # which cannot open a directory
        fd = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class _SystemKeyring:
    """The `keyring` package's choice of keyring."""

    def get(self, name: str) -> str | None:
        import keyring  # noqa: PLC0415  an extra, and it asks the session bus
        from keyring.errors import KeyringError  # noqa: PLC0415  as above

        try:
            return keyring.get_password(_SERVICE, name)
        except KeyringError as error:
            raise OSError(str(error) or type(error).__name__) from error

    def put(self, name: str, text: str) -> None:
        import keyring  # noqa: PLC0415  as above
        from keyring.errors import KeyringError  # noqa: PLC0415  as above

        try:
            keyring.set_password(_SERVICE, name, text)
        except KeyringError as error:
            raise OSError(str(error) or type(error).__name__) from error

    def remove(self, name: str) -> None:
        import keyring  # noqa: PLC0415  as above
        from keyring.errors import KeyringError  # noqa: PLC0415  as above

        try:
            keyring.delete_password(_SERVICE, name)
        except KeyringError as error:
            raise OSError(str(error) or type(error).__name__) from error


def system_keyring() -> Keyring | None:
    """The operating system's keyring; None without one, without the extra, or with MATRIXDATA_KEYRING=off."""
    if os.environ.get("MATRIXDATA_KEYRING", "").lower() in {"off", "0", "no"}:
        return None
    try:
        import keyring  # noqa: PLC0415  an extra

        # Below 1 are those that keep plain text, keep nothing, or always fail.
        usable = keyring.get_keyring().priority >= 1
    except (ImportError, RuntimeError, ValueError):
        return None
    return _SystemKeyring() if usable else None
