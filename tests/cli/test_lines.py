"""Records out of files and streams: the bad ones in their place, the good ones none the less."""

from __future__ import annotations

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from matrixdata.cli.lines import MAX_LINE, json_document, json_lines
from matrixdata.errors import RecordInvalid

lines = st.lists(st.one_of(st.just(b""), st.just(b"{"), st.integers(0, 9).map(lambda n: b'{"n": %d}' % n)))


@given(lines, st.booleans())
def test_each_line_is_found_under_its_number(given_lines: list[bytes], ends: bool) -> None:
    stream = io.BytesIO(b"\n".join(given_lines) + b"\n" * ends)

    found = dict(json_lines(stream))

    expected = {number: line for number, line in enumerate(given_lines, start=1) if line}
    assert found.keys() == expected.keys()
    for number, line in expected.items():
        assert isinstance(found[number], RecordInvalid) if line == b"{" else found[number] == json.loads(line)


def test_a_line_too_long_for_any_event_is_refused_and_the_next_is_read() -> None:
    stream = io.BytesIO(b'"' + b"x" * (3 * MAX_LINE) + b'"\n{"n": 1}\n')

    (_, long), (number, record) = json_lines(stream)

    assert isinstance(long, RecordInvalid)
    assert (number, record) == (2, {"n": 1})


def test_what_json_cannot_mean_is_refused() -> None:
    found = [it for _, it in json_lines(io.BytesIO(b'{"a": 1, "a": 2}\n{"a": NaN}\n{"a": "\xff"}\n'))]

    assert all(isinstance(it, RecordInvalid) for it in found)


def test_a_json_file_holds_one_record_or_an_array_of_them(tmp_path) -> None:
    one, many = tmp_path / "one.json", tmp_path / "many.json"
    one.write_text('{"n": 1}')
    many.write_text('[{"n": 1}, {"n": 2}]')

    assert list(json_document(one)) == [(1, {"n": 1})]
    assert list(json_document(many)) == [(1, {"n": 1}), (2, {"n": 2})]
