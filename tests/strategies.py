"""Hypothesis strategies for what users publish: any JSON that a record may hold, nasty places first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from matrixdata.model.limits import MAX_DEPTH

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from matrixdata.model.json import JSON, JSONObject

# Escapes of ours and of JSON Pointer, names that mean something to JavaScript or SQL, NFC and NFD twins, NUL,
# both sides of where UTF-16 and code points sort differently, noncharacters.
NASTY_TEXTS = (
    "",
    "*",
    "**",
    "~",
    "~0",
    "~1",
    "~2",
    "~01",
    "/",
    "a/b",
    "a.b",
    "a*b",
    "-",
    "0",
    "1",
    "00",
    "__proto__",
    "constructor",
    '"',
    "\\",
    "$.a[0]",
    "'; DROP TABLE x; --",
    "\0",
    "a\0b",
    "\x1f\x7f",
    "\u2028",
    "caf\u00e9",
    "cafe\u0301",
    "\ufdd0\ufffe\uffff",
    "\U00010000",
    "\U0010ffff",
)
EDGE_INTEGERS = (
    0,
    2**53 - 1,
    2**53,
    2**53 + 1,
    1 - 2**53,
    -(2**53),
    -(2**53) - 1,
    2**63 - 1,
    2**63,
    -(2**63),
    2**64 - 1,
)
EDGE_DOUBLES = (
    0.0,
    -0.0,
    21.0,
    0.1,
    1e16,
    1e22,
    1e300,
    2.0**53,
    5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
)


def texts() -> SearchStrategy[str]:
    """Text of every plane, and text that breaks what is careless."""
    return st.one_of(st.text(max_size=20), st.sampled_from(NASTY_TEXTS))


def doubles() -> SearchStrategy[float]:
    """Any finite double."""
    return st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(EDGE_DOUBLES))


def integers() -> SearchStrategy[int]:
    """Any integer of 64 bits, signed or unsigned."""
    return st.one_of(st.integers(-(2**63), 2**64 - 1), st.integers(-100, 100), st.sampled_from(EDGE_INTEGERS))


def scalars() -> SearchStrategy[JSON]:
    """Any value that holds no other; also text that looks like a number, to lie beside numbers."""
    looks_like_numbers = st.one_of(
        doubles().map(repr), integers().map(str), st.sampled_from(["NaN", "1e999"])
    )
    return st.one_of(st.none(), st.booleans(), integers(), doubles(), texts(), looks_like_numbers)


def _few() -> SearchStrategy[JSON]:
    # Few keys and short arrays: places of neighbours then coincide, which is what patterns are about.
    return st.recursive(
        st.sampled_from([1.5, "1.5", None, 2**60, "text", -0.0, 7]),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(st.sampled_from(["a", "*", "0", "1"]), inner, max_size=3),
        ),
        max_leaves=25,
    )


def _varied() -> SearchStrategy[JSON]:
    return st.recursive(
        scalars(),
        lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(texts(), inner, max_size=6)),
        max_leaves=20,
    )


def nested(value: JSON, levels: int) -> JSON:
    """A value inside that many containers, arrays and objects in turn."""
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return value


def _deep() -> SearchStrategy[JSON]:
    return st.builds(nested, scalars(), st.integers(0, MAX_DEPTH - 1))


def json_values() -> SearchStrategy[JSON]:
    """Any JSON value that a record may hold, small enough for an event. At most MAX_DEPTH - 1 levels."""
    return st.one_of(_varied(), _few(), _deep())


def records() -> SearchStrategy[JSONObject]:
    """Any record: a JSON object, small enough for an event."""
    return st.dictionaries(texts(), json_values(), max_size=5)


def exact(value: JSON) -> str:
    """A text that is equal only for values equal in type and bits: 21 and 21.0, -0.0 and 0.0, true and 1 differ."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def holds_no_number_that_matrix_forbids(value: JSON) -> bool:
    """Whether a value could stand in event content."""
    if isinstance(value, float):
        return False
    if isinstance(value, int):
        return abs(value) < 2**53
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(holds_no_number_that_matrix_forbids, children))
