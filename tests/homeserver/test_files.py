from __future__ import annotations

import os
import stat

import pytest

from matrixdata.errors import Conflict
from matrixdata.homeserver import files


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_directories_and_files_are_the_owners_whatever_the_umask(tmp_path):
    place = tmp_path / "made" / "here"
    files.make_private(place)
    files.write_private(place / "secret", "x")
    assert mode(place) == 0o700
    assert mode(place / "secret") == 0o600


def test_an_empty_directory_is_taken_and_closed_to_others(tmp_path):
    tmp_path.chmod(0o755)
    files.make_private(tmp_path)
    assert mode(tmp_path) == 0o700


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(Conflict, match="holds other files"):
        files.make_private(tmp_path)
    assert mode(tmp_path) == 0o755


def test_a_directory_in_which_another_process_is_just_starting_is_fine(tmp_path):
    (tmp_path / "start.lock").touch()
    files.make_private(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    files.write_private(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_private(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null"])
def test_what_is_no_json_object_reads_as_none(tmp_path, content):
    path = tmp_path / "file"
    assert files.read_json(path) is None
    path.write_bytes(content)
    assert files.read_json(path) is None


def test_the_end_of_a_long_log(tmp_path):
    path = tmp_path / "log"
    assert files.last_lines(path) == []
    path.write_text("".join(f"line {n}\n" for n in range(100_000)))
    assert files.last_lines(path, 2) == ["line 99998", "line 99999"]
