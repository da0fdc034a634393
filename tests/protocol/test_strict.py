"""Files that people import are read exactly, or refused with the place."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from matrixdata.errors import RecordInvalid
from matrixdata.model.limits import MAX_DEPTH
from matrixdata.protocol.rules import check
from matrixdata.protocol.strict import loads
from tests.requirements import SHARED_DATA, require
from tests.strategies import exact, json_values

SUITE = SHARED_DATA / "JSONTestSuite" / "test_parsing"

# Accepted by the suite; refused here, because two values under one key cannot both be kept.
OUTSIDE_OUR_RANGE = {"y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"}

# The suite leaves these open. Taken: a double underflows to zero. All others are refused.
OPEN_AND_TAKEN = {"i_number_double_huge_neg_exp.json", "i_number_real_underflow.json"}


def suite(kind):
    return sorted(path.name for path in SUITE.glob(f"{kind}_*.json"))


def test_the_suite_is_whole():
    require("shared-data")

    assert {kind: len(suite(kind)) for kind in "yni"} == {"y": 95, "n": 188, "i": 35}


@pytest.mark.parametrize("name", suite("y"))
def test_what_must_be_accepted_is_read_as_json_reads_it(name):
    text = (SUITE / name).read_bytes()
    if name in OUTSIDE_OUR_RANGE:
        with pytest.raises(RecordInvalid, match="duplicate-key"):
            loads(text)
        return

    assert exact(loads(text)) == exact(json.loads(text)) == exact(loads(text.decode()))


@pytest.mark.parametrize("name", suite("n"))
def test_what_must_be_refused_is_refused(name):
    with pytest.raises(RecordInvalid):
        loads((SUITE / name).read_bytes())


@pytest.mark.parametrize("name", suite("i"))
def test_what_the_suite_leaves_open(name):
    text = (SUITE / name).read_bytes()
    if name in OPEN_AND_TAKEN:
        assert check(loads(text)) == []
        return
    with pytest.raises(RecordInvalid):
        loads(text)


@pytest.mark.parametrize(
    ("text", "rule", "place"),
    [
        ('{"a": {"b": 1, "b": 2}}', "duplicate-key", "/a/b"),
        ('[{"a": 1, "b": 2, "a": 1}]', "duplicate-key", "/0/a"),
        ('{"a": [NaN]}', "finite", "/a/0"),
        ('{"a": -Infinity}', "finite", "/a"),
        ('{"a": 1e400}', "finite", "/a"),
        ('{"a": 18446744073709551616}', "integer-range", "/a"),
        ('{"a": [1, ' + "9" * 10_000 + "]}", "integer-range", "/a/1"),
        (r'{"a": "\ud800"}', "unicode", "/a"),
        (r'{"\udc00": 1}', "unicode", "/\udc00"),
        ('{\n "a": 1,\n "b" 2\n}', "syntax", "line 3, column 6"),
        ("", "syntax", "line 1, column 1"),
        ("[1] x", "syntax", "line 1, column 5"),
        ('["a\tb"]', "syntax", "line 1, column 4"),
        ("\n" + "[" * 100_000, "depth", f"line 2, column {MAX_DEPTH + 1}"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "depth", f"column {MAX_DEPTH + 1}"),
        ("\ufeff{}", "encoding", "utf-8-sig"),
        (b"\xef\xbb\xbf{}", "encoding", "utf-8-sig"),
        (b'{"a": "\xff"}', "encoding", "byte 7"),
        ("{}".encode("utf-16"), "encoding", "UTF-16"),
        (b'["\xed\xa0\x80"]', "encoding", "byte 2"),
    ],
)
def test_the_place_is_told(text, rule, place):
    with pytest.raises(RecordInvalid) as refused:
        loads(text)

    (problem,) = refused.value.problems
    assert problem.rule == rule
    assert place in (problem.pointer, *problem.message.split(": ")) or place in problem.message


def test_a_file_may_hold_more_values_than_an_event():
    text = json.dumps([{"a": number, "b": 1.5} for number in range(60_000)])

    assert loads(text) == json.loads(text)


def test_brackets_in_strings_are_not_depth():
    text = json.dumps(['[{"\\' * 1000, {"]": "[" * 1000}])

    assert loads(text) == json.loads(text)


@given(json_values())
def test_what_we_write_we_read(value):
    text = json.dumps(value)

    assert exact(loads(text)) == exact(value)
    assert exact(loads(json.dumps(value, ensure_ascii=False).encode())) == exact(value)


@given(st.one_of(st.text(), st.binary(), st.text(alphabet='[]{}",:0e-\\ \n')))
@example("[" * 64 + '"')
def test_any_text_is_read_or_refused(text):
    try:
        problems = check(loads(text))
        refused = False
    except RecordInvalid as error:
        problems, refused = error.problems, True

    assert bool(problems) is refused
