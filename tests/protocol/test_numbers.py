"""The codec loses nothing, marks only numbers, and survives what others write."""

from __future__ import annotations

import copy
import math
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from matrixdata.errors import RecordInvalid, TooLarge
from matrixdata.protocol.numbers import MAX_DEPTH, MAX_PATTERNS, WireError, check, decode, encode
from tests.strategies import exact, holds_no_number_that_matrix_forbids, json_values, nested, records, scalars


@given(json_values())
@example([[1.5, 2.5], ["a", 1.5]])
@example([{"1": "x"}, ["s", 2.5]])
@example([{"0": 1.5}, ["x"]])
@example([1.5, {"a": "x"}, [2.5]])
@example([["a", 1.5], [None, 2.5], ["c", None]])
def test_what_goes_in_comes_out_bit_for_bit_and_travels_without_forbidden_numbers(value):
    before = exact(value)

    encoded, numbers = encode(value)
    decoded = decode(encoded, numbers)

    assert exact(decoded) == before == exact(value)
    assert holds_no_number_that_matrix_forbids(encoded)
    assert check(decoded) == []


@given(scalars(), st.integers(0, MAX_DEPTH))
def test_any_depth_up_to_the_limit(value, levels):
    deep = nested(value, levels)

    assert exact(decode(*encode(deep))) == exact(deep)


@given(records())
def test_equal_records_are_packed_alike(record):
    backwards = dict(reversed(record.items()))

    assert encode(backwards)[1] == encode(record)[1]


@pytest.mark.parametrize(
    ("value", "patterns"),
    [
        (21.0, [""]),
        ("21.0", []),
        ([0.5] * 1000, ["/*"]),
        ([{"t": 1.5}, {"t": 2}, {"t": None}], ["/*/t"]),
        (["1.5", 1.5], ["/1"]),
        ([["ts", 1.5, None], [None, None, 2.5], ["ts", 1.5, 3]], ["/*/1", "/*/2"]),
        ({"*": [1.5]}, ["/~2/*"]),
    ],
)
def test_patterns_are_few(value, patterns):
    assert encode(value)[1] == patterns


def test_a_literal_string_is_never_taken_for_a_number():
    value = [{"reading": "1.5"}, {"reading": 1.5}]

    assert decode(*encode(value)) == value


# --- check -------------------------------------------------------------------------------------------


def test_every_problem_is_found_with_its_place():
    value = {
        "a": [math.nan, 1.0, math.inf, -math.inf],
        "b": {"c/d": 2**64, "e": -(2**63) - 1, "f": 2**64 - 1},
        "g": "half \ud800",
        "\udc00": 1,
        3: None,
        "h": {1, 2},
        "i": 10**5000,
    }

    found = {(problem.pointer, problem.rule) for problem in check(value)}

    assert found == {
        ("/a/0", "finite"),
        ("/a/2", "finite"),
        ("/a/3", "finite"),
        ("/b/c~1d", "integer-range"),
        ("/b/e", "integer-range"),
        ("/g", "unicode"),
        ("/\udc00", "unicode"),
        ("/3", "key"),
        ("/h", "type"),
        ("/i", "integer-range"),
    }
    assert all(str(problem).isprintable() for problem in check(value))


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (math.nan, "finite"),
        (math.inf, "finite"),
        (2**64, "integer-range"),
        (-(2**63) - 1, "integer-range"),
        ("\ud800", "unicode"),
        ({"\udfff": 1}, "unicode"),
        ({1: 1}, "key"),
        ({None: 1}, "key"),
        ((1,), "type"),
        (b"", "type"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("around", [lambda x: x, lambda x: [x], lambda x: {"a": 1, "b": [1.5, {"c": x}]}])
def test_a_single_problem_is_enough(value, rule, around):
    assert [problem.rule for problem in check(around(value))] == [rule]
    with pytest.raises(RecordInvalid):
        encode(around(value))
    with pytest.raises(WireError) as refused:
        decode(around(value), [])
    assert str(refused.value).encode()
    assert all(problem.pointer.encode() for problem in refused.value.problems)


def _levels(count):
    value: list = []
    for _ in range(count - 1):
        value = [value]
    return value


def _holds_itself():
    value: list = []
    value += [value, value]
    return value


def _shared(times):
    value: list = [0]
    for _ in range(times):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (_levels(MAX_DEPTH + 1), "depth"),
        (_levels(100_000), "depth"),
        (_holds_itself(), "depth"),
        (_shared(MAX_DEPTH - 2), "size"),
    ],
    ids=["just too deep", "very deep", "holds itself", "shares children"],
)
def test_depth_and_unfolding_end_in_a_problem(value, rule):
    assert {problem.rule for problem in check(value)} == {rule}
    with pytest.raises(RecordInvalid):
        encode(value)
    with pytest.raises(WireError):
        decode(value, ["/*" * 1000])


def test_the_deepest_that_is_allowed():
    assert check(_levels(MAX_DEPTH)) == []


# --- what others write -------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["\ud800", "1.5"])
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=10,
)
SOME_PATTERNS = st.lists(
    st.one_of(
        st.lists(st.sampled_from(["*", "0", "1", "a", "~2", "~0", "", "~", "00"])).map(
            lambda tokens: "".join(f"/{token}" for token in tokens)
        ),
        st.text(max_size=5),
    )
)


@given(ANYTHING, st.one_of(SOME_PATTERNS, ANYTHING))
def test_whatever_others_write_is_decoded_or_refused_and_left_unchanged(value, numbers):
    before = copy.deepcopy((value, numbers))
    try:
        outcome = check(decode(value, numbers))
        refused = False
    except WireError as error:
        outcome, refused = error.problems, True

    assert bool(outcome) is refused
    assert all(problem.pointer.startswith(("/value", "/numbers")) for problem in outcome)
    assert repr((value, numbers)) == repr(before)


def test_the_place_of_a_bad_number_leads_into_the_content():
    with pytest.raises(WireError) as refused:
        decode({"a": ["1.5", "NaN"]}, ["/a/*", "/b~"])

    assert [problem.pointer for problem in refused.value.problems] == ["/numbers/1"]

    with pytest.raises(WireError) as refused:
        decode({"a": ["1.5", "NaN"]}, ["/a/*"])

    assert [problem.pointer for problem in refused.value.problems] == ["/value/a/1"]


def _hostile():
    keys = {str(number): "" for number in range(5000)}
    yield "many patterns over many elements", [[[]] * 10] * 1500, [f"/*/*/{i}" for i in range(5000)]
    yield "many patterns over wide objects", [{}] * 10_000, [f"/*/{key}" for key in keys]
    yield "long patterns", _levels(MAX_DEPTH), ["/*" * 250] * 100
    yield "one very long pattern", {"a": 1}, ["/a" * 25_000]
    yield "many slashes", {"": 1}, ["/" * 50_000]
    yield "many bad numbers below a long key", {"k" * 20_000: ["x"] * 9000}, ["/" + "k" * 20_000 + "/*"]
    yield "many floats below a long key", {"k" * 20_000: [1.5] * 9000}, []
    yield "many bad patterns", {}, ["x"] * MAX_PATTERNS
    yield "long digits", {"a": ["9" * 50_000]}, ["/a/*"]


@pytest.mark.parametrize("case", [*_hostile()], ids=lambda case: case[0])
def test_no_event_takes_long_to_decode(case):
    _, value, numbers = case
    problems = ()
    started = time.process_time()
    try:
        decode(value, numbers)
    except WireError as error:
        problems = error.problems

    assert len(problems) <= 20
    # Each takes some hundredths of a second; quadratic work would take minutes.
    assert time.process_time() - started < 10


def test_patterns_below_a_long_key_are_refused_before_they_fill_the_memory():
    value = {"k" * 20_000: [1.5, "text"] * 2000}

    with pytest.raises(TooLarge):
        encode(value)
