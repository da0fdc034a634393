"""Paths as text: one text a path, one path a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.model.paths import format_path, parse_path

AWKWARD = st.sampled_from(
    [
        "",
        ".",
        '"',
        '""',
        "a.b",
        "\x00",
        "\x7f",
        "\u0085",
        "\\",
        "\\n",
        "é",
        "e\u0301",
        "🌡",
        "__proto__",
        "$or",
        " ",
        "0",
    ]
)
PATHS = st.lists(AWKWARD | st.text(max_size=5), min_size=1, max_size=4).map(tuple)


@given(PATHS)
def test_a_path_written_is_read_back_plain_or_quoted(path: tuple[str, ...]) -> None:
    assert parse_path(format_path(path)) == path
    assert parse_path(format_path(path, quote=True)) == path
    assert parse_path(path) == path


@given(PATHS, PATHS)
def test_no_two_paths_share_a_text(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (format_path(one) == format_path(other)) == (one == other)


@given(st.text(max_size=12))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    try:
        path = parse_path(text)
    except ValueError:
        return
    assert parse_path(format_path(path)) == path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("a.b.c", ("a", "b", "c")),
        ('nested."a.b"', ("nested", "a.b")),
        ('""', ("",)),
        ('"say \\"hi\\""."\\u0000".x', ('say "hi"', "\x00", "x")),
        ("items.0", ("items", "0")),
        ("$schema", ("$schema",)),
    ],
)
def test_examples(text: str, path: tuple[str, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", '"a', '"a"b', 'a"b"', '"\\x"', "a\nb", '"a\nb"']
)
def test_what_is_no_path_is_refused_with_the_place(text: str) -> None:
    with pytest.raises(ValueError, match="character"):
        parse_path(text)


@pytest.mark.parametrize(
    ("given_path", "error"), [((), ValueError), (("a", 0), TypeError), (["a"], TypeError), (5, TypeError)]
)
def test_what_is_no_path_at_all(given_path: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_path(given_path)  # type: ignore[arg-type]  # the mistake under test
