"""Schemas of the profile and JSON values near them, for properties."""

from __future__ import annotations

from hypothesis import strategies as st

KEYS = st.sampled_from(["a", "b", "ab", "", "é", "a/b", "~", "__proto__", "\U0001f332", "x\0"])
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0.0, -0.0, 1.0, 0.1, 0.3, 0.7, 19.99, 1e22, 5e-324, 1e308, -1e308]),
    st.sampled_from([2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), -(2**63) - 1]),
    st.sampled_from([2.0**53, 2.0**63, 2.0**64, -(2.0**63)]),
    st.floats(allow_nan=False, allow_infinity=False),
)
TEXTS = st.text("ab1é\n\U0001f332\0", max_size=5)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
PATTERNS = st.sampled_from(
    ["a", "^a", "b$", "^[ab]*$", "^(a+)+$", "\\d", "[0-9]", "^.$", "é|^$", "^\\S{2,3}$", "\\W"]
)
TYPES = st.sampled_from(["null", "boolean", "object", "array", "number", "string", "integer"])
COUNTS = st.integers(0, 3) | st.sampled_from([2.0])


def _some(strategies):
    """Up to three of these keywords: drawing all and dropping most would cost more than the tests."""
    pairs = [st.tuples(st.just(keyword), values) for keyword, values in strategies.items()]
    return st.lists(st.one_of(pairs), min_size=1, max_size=3).map(dict)


FEW = _some(
    {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
        "enum": st.lists(VALUES, max_size=4),
        "const": VALUES,
        "minimum": NUMBERS,
        "maximum": NUMBERS,
        "exclusiveMinimum": NUMBERS,
        "exclusiveMaximum": NUMBERS,
        "multipleOf": st.sampled_from([1, 2, 3, 7, 2.0, 0.1, 0.01, 0.25, 1e-8, 2**53 + 1, 2**63, 1e22]),
        "minLength": COUNTS,
        "maxLength": COUNTS,
        "pattern": PATTERNS,
        "minItems": COUNTS,
        "maxItems": COUNTS,
        "uniqueItems": st.booleans(),
        "minProperties": COUNTS,
        "maxProperties": COUNTS,
        "required": st.lists(KEYS, max_size=2, unique=True),
        "dependentRequired": st.dictionaries(KEYS, st.lists(KEYS, max_size=2, unique=True), max_size=2),
        "format": st.just("date-time"),
    }
)
REFERENCES = st.sampled_from(["#", "#/$defs/x", "#/$defs/y", "#named"]).map(lambda to: {"$ref": to})


def _applied(inner):
    def lists(size=2):
        return st.lists(inner, min_size=1, max_size=size)

    def named(keys=KEYS):
        return st.dictionaries(keys, inner, min_size=1, max_size=2)

    applicators = _some(
        {
            "allOf": lists(),
            "anyOf": lists(),
            "oneOf": lists(3),
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "dependentSchemas": named(),
            "properties": named(),
            "patternProperties": named(PATTERNS),
            "additionalProperties": inner,
            "propertyNames": inner,
            "prefixItems": lists(),
            "items": inner,
            "contains": inner,
            "minContains": COUNTS,
            "maxContains": COUNTS,
        }
    )
    return st.tuples(applicators, FEW).map(lambda pair: pair[0] | pair[1])


SUBSCHEMAS = st.recursive(st.booleans() | FEW | REFERENCES, _applied, max_leaves=5)


@st.composite
def schemas(draw):
    """A schema, mostly of the profile; some lead to themselves and are refused."""
    root = draw(_applied(SUBSCHEMAS))
    return root | {
        "$id": "https://example.org/schema",
        "$defs": {"x": draw(SUBSCHEMAS), "y": draw(SUBSCHEMAS), "z": {"$anchor": "named"} | draw(FEW)},
    }
