"""Times of records are exact."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.protocol.time import EARLIEST, LATEST, TIME_UNITS, read_time
from tests.strategies import doubles, integers, json_values

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECONDS = {"s": Fraction(10**6), "ms": Fraction(1000), "us": Fraction(1), "ns": Fraction(1, 1000)}


def in_bounds(moment):
    return moment if EARLIEST <= moment <= LATEST else None


@given(integers(), st.sampled_from(sorted(MICROSECONDS)))
def test_integers_are_rounded_down(number, unit):
    exact = number * MICROSECONDS[unit]

    assert read_time({"t": number}, "/t", unit) == in_bounds(exact.__floor__())


@given(doubles(), st.sampled_from(sorted(MICROSECONDS)))
def test_doubles_are_rounded_to_the_nearest(number, unit):
    exact = Fraction(number) * MICROSECONDS[unit]

    assert read_time({"t": number}, "/t", unit) == in_bounds((exact + Fraction(1, 2)).__floor__())


@given(st.integers(EARLIEST, LATEST))
def test_every_moment_between_the_bounds_is_a_datetime_and_comes_back(moment):
    text = (EPOCH + timedelta(microseconds=moment)).isoformat()

    assert read_time(text, "", "iso") == moment


@given(
    json_values(),
    st.one_of(st.text(), st.sampled_from(["", "/a", "/0", "/a/0", "/*"])),
    st.sampled_from([*TIME_UNITS, "x"]),
)
def test_any_value_has_a_time_within_bounds_or_none(value, pointer, unit):
    moment = read_time(value, pointer, unit)

    assert moment is None or EARLIEST <= moment <= LATEST


@pytest.mark.parametrize("unit", ["", "S", "min", "iso8601"])
def test_an_unknown_unit_has_no_time(unit):
    assert read_time({"t": 1}, "/t", unit) is None
