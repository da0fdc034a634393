"""The same verdict from every engine: what decision 0002 promises."""

from __future__ import annotations

import contextlib
import json

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry

from matrixdata.errors import SchemaError
from matrixdata.validation import compile_schema
from matrixdata.validation.equality import equality_key
from tests.validation.engines import engines
from tests.validation.strategies import SUBSCHEMAS, VALUES, schemas

SLOW = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
)


def compiled_or_none(schema):
    try:
        return compile_schema(schema)
    except SchemaError as error:
        refusal = error
    # The strategy stays within the profile but for loops and their cost.
    assert {problem.rule for problem in refusal.problems} <= {"$ref", "work", "nesting"}
    return None


@SLOW
@given(schemas(), st.lists(VALUES, min_size=1, max_size=6))
def test_every_engine_gives_the_same_verdict(schema, values):
    compiled = compiled_or_none(schema)
    assume(compiled is not None)
    for value in values:
        verdicts = {engine: verdict(value) for engine, verdict in engines(compiled).items()}
        assert len(set(verdicts.values())) == 1, (schema, value, verdicts)


# Where jsonschema is set aside: decimals, patterns of ECMA, equality in uniqueItems.
REPLACED = {"multipleOf", "pattern", "patternProperties", "uniqueItems"}


def without_replaced(schema):
    if isinstance(schema, dict):
        return {key: without_replaced(item) for key, item in schema.items() if key not in REPLACED}
    return [without_replaced(item) for item in schema] if isinstance(schema, list) else schema


@SLOW
@given(schemas().map(without_replaced), st.lists(VALUES, min_size=1, max_size=6))
def test_the_verdict_is_jsonschemas_own_where_nothing_was_replaced_on_purpose(schema, values):
    compiled = compiled_or_none(schema)
    assume(compiled is not None)
    untouched = Draft202012Validator(schema, registry=Registry())
    for value in values:
        assert compiled.is_valid(value) == untouched.is_valid(value)


@SLOW
@given(SUBSCHEMAS)
def test_what_is_accepted_is_draft_2020_12(schema):
    try:
        compiled = compile_schema(schema)
    except SchemaError:
        return
    Draft202012Validator.check_schema(compiled.schema)


@SLOW
@given(schemas(), VALUES)
def test_every_problem_points_into_the_value(schema, value):
    compiled = compiled_or_none(schema)
    assume(compiled is not None)
    for problem in compiled.problems(value):
        place = value
        for step in problem.pointer.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            place = place[int(key)] if isinstance(place, list) else place[key]
        assert problem.rule
        assert problem.message


@given(VALUES, VALUES)
def test_equality_keys_agree_with_jsonschemas_equality(one, two):
    same = Draft202012Validator({"const": one}).is_valid(two)
    assert (equality_key(one) == equality_key(two)) == same


@given(st.recursive(st.text() | st.integers() | st.booleans() | st.none(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))  # fmt: skip
def test_anything_given_as_a_schema_is_compiled_or_refused_never_a_crash(thing):
    for schema in (thing, json.dumps(thing)):
        with contextlib.suppress(SchemaError):
            compile_schema(schema)
