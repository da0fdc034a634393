"""Records as Hypothesis draws them: plain JSON with the keys and numbers that frames get wrong."""

from __future__ import annotations

from hypothesis import strategies as st

awkward = st.sampled_from(
    [
        "",
        ".",
        "a",
        "b",
        "a.b",
        '"a"',
        '"',
        "value",
        "__proto__",
        "é",
        "e\u0301",
        "🌡",
        "\x00",
        "\u0085",
        "$or",
        "0",
    ]
)
keys = st.one_of(awkward, st.text(max_size=4))
integers = st.one_of(
    st.integers(-5, 5),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)]),
)
floats = st.one_of(
    st.sampled_from([-0.0, 21.0, 5e-324, 1.7e308, 2.0**53]), st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.one_of(
    st.sampled_from(["", "\x00", "2026-01-01T00:00:00Z", "1", "NaN", "\ufffe"]), st.text(max_size=5)
)
scalars = st.one_of(st.none(), st.booleans(), integers, floats, texts)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
records = st.dictionaries(keys, values, max_size=4)


def same(a: object, b: object) -> bool:
    """Equal as JSON, where Python's == would take True for 1. 21 and 21.0 are the same number."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def without_nulls(value: object) -> object:
    """The record as a frame can tell it: members that are null are as good as absent.

    An object with nothing but null members is left with nothing at all, and so is absent too. Arrays are cells:
    nothing inside them changes.
    """
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, member in value.items():
        stripped = without_nulls(member)
        if stripped is not None and not (stripped == {} and member != {}):
            kept[key] = stripped
    return kept
