"""The key that seals a store: where it is kept, who may read it, and what happens when it is gone."""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from matrixdata.encryption import vault
from matrixdata.errors import MatrixDataError, StoreCorrupt

if TYPE_CHECKING:
    from pathlib import Path


class Ring:
    """A keyring in memory, which can be locked."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.locked = False

    def _check(self) -> None:
        if self.locked:
            raise OSError("locked")

    def get(self, name: str) -> str | None:
        self._check()
        return self.entries.get(name)

    def put(self, name: str, text: str) -> None:
        self._check()
        self.entries[name] = text

    def remove(self, name: str) -> None:
        self._check()
        self.entries.pop(name)


def not_to_be_asked() -> vault.Keyring:
    """Looking for it takes a tenth of a second, a question to the session bus, and maybe a dialogue."""
    raise AssertionError("the key is in the file")


def test_a_store_keeps_its_key_in_a_private_file(tmp_path: Path) -> None:
    key = vault.pickle_key(tmp_path)
    assert len(key) == 32
    assert vault.pickle_key(tmp_path, in_use=True) == key
    assert vault.pickle_key(tmp_path, find_keyring=not_to_be_asked, in_use=True) == key
    assert [each.name for each in tmp_path.iterdir()] == [vault.FILE]
    if sys.platform != "win32":
        assert (tmp_path / vault.FILE).stat().st_mode & 0o777 == 0o600


def test_two_stores_have_two_keys(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert vault.pickle_key(tmp_path / "a") != vault.pickle_key(tmp_path / "b")


def test_with_a_keyring_the_file_holds_no_key(tmp_path: Path) -> None:
    ring = Ring()
    key = vault.pickle_key(tmp_path, find_keyring=lambda: ring)
    assert vault.encoded(key) in ring.entries.values()
    assert vault.encoded(key) not in (tmp_path / vault.FILE).read_text()
    assert vault.pickle_key(tmp_path, find_keyring=lambda: ring, in_use=True) == key


def test_a_keyring_that_takes_nothing_is_done_without(tmp_path: Path) -> None:
    ring = Ring()
    ring.locked = True
    key = vault.pickle_key(tmp_path, find_keyring=lambda: ring)
    assert vault.pickle_key(tmp_path) == key


@pytest.mark.parametrize("case", ["locked", "emptied", "absent"])
def test_a_key_in_a_keyring_that_does_not_give_it_is_never_replaced(tmp_path: Path, case: str) -> None:
    ring = Ring()
    key = vault.pickle_key(tmp_path, find_keyring=lambda: ring)
    kept = dict(ring.entries)
    ring.locked = case == "locked"
    if case == "emptied":
        ring.entries.clear()
    with pytest.raises(StoreCorrupt, match="keyring"):
        vault.pickle_key(tmp_path, find_keyring=lambda: None if case == "absent" else ring)
    ring.locked, ring.entries = False, kept
    assert vault.pickle_key(tmp_path, find_keyring=lambda: ring) == key


def test_a_key_that_is_gone_while_it_is_needed_is_not_made_anew(tmp_path: Path) -> None:
    vault.pickle_key(tmp_path)
    (tmp_path / vault.FILE).unlink()
    with pytest.raises(StoreCorrupt, match="recovery_key"):
        vault.pickle_key(tmp_path, in_use=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "key ", "key AAAA", "nonsense", "key " + "!" * 43])
def test_a_damaged_file_is_named_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / vault.FILE).write_text(text)
    with pytest.raises(StoreCorrupt, match=vault.FILE):
        vault.pickle_key(tmp_path)
    assert (tmp_path / vault.FILE).read_text() == text


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files are Unix's")
def test_a_file_that_others_could_read_is_closed_to_them_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = vault.pickle_key(tmp_path)
    (tmp_path / vault.FILE).chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert vault.pickle_key(tmp_path) == key
    assert (tmp_path / vault.FILE).stat().st_mode & 0o777 == 0o600
    assert "could be read by others" in caplog.text
    assert vault.encoded(key) not in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="making links needs rights there")
def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("key " + "A" * 43)
    (tmp_path / vault.FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MatrixDataError, match="plain file"):
        vault.pickle_key(tmp_path)


@pytest.mark.parametrize("with_ring", [False, True])
def test_of_many_at_once_all_get_the_same_key(tmp_path: Path, with_ring: bool) -> None:
    ring = Ring() if with_ring else None
    gate, keys = threading.Barrier(8), []

    def open_it() -> None:
        gate.wait()
        keys.append(vault.pickle_key(tmp_path, find_keyring=lambda: ring))

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert [each.name for each in tmp_path.iterdir()] == [vault.FILE]


def test_the_systems_keyring_is_not_asked_when_it_is_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRIXDATA_KEYRING", "off")
    assert vault.system_keyring() is None
