from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from matrixdata.errors import SchemaError
from matrixdata.model.limits import MAX_DEPTH
from matrixdata.validation import MAX_PROBLEMS, CompiledSchema, cached_schema, compile_schema, keywords
from tests.validation.engines import engines, without_rust

READINGS = {
    "type": "object",
    "properties": {
        "ts": {"type": "string"},
        "temp": {"type": "number", "minimum": -60, "maximum": 100},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    },
    "required": ["ts", "temp"],
    "additionalProperties": False,
}


def told(schema, value):
    return [(problem.pointer, problem.rule) for problem in compile_schema(schema).problems(value)]


def refused(schema):
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    return caught.value.problems


# What is told about values.


def test_a_problem_names_place_rule_and_value():
    (problem,) = compile_schema({"properties": {"temp": {"type": "number"}}}).problems({"temp": "hot"})
    assert (problem.pointer, problem.rule, problem.value) == ("/temp", "type", "'hot'")
    assert problem.message == "must be a number, not text"


def test_every_problem_is_told():
    value = {"temp": 200, "tags": ["a", 1, "a"], "tmep": 1}
    assert sorted(told(READINGS, value)) == [
        ("", "required"),
        ("/tags", "uniqueItems"),
        ("/tags/1", "type"),
        ("/temp", "maximum"),
        ("/tmep", "additionalProperties"),
    ]


def test_the_number_of_problems_is_bounded():
    assert len(told({"items": {"type": "string"}}, list(range(1000)))) == MAX_PROBLEMS


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (
            {"properties": {"a/b": False}},
            {"a/b": 1},
            ("/a~1b", "false"),
        ),
        ({"propertyNames": {"pattern": "^[a-z]+$"}}, {"A": 1}, ("/A", "propertyNames")),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, ("", "dependentRequired")),
        ({"prefixItems": [{}], "items": False}, [1, 2], ("/1", "false")),
        ({"contains": {"type": "null"}, "minContains": 2}, [None], ("", "minContains")),
        ({"anyOf": [{"type": "null"}, {"minimum": 3}]}, 2, ("", "anyOf")),
        ({"oneOf": [{}, {}]}, 2, ("", "oneOf")),
        ({"not": {}}, 2, ("", "not")),
        ({"if": {"minimum": 1}, "then": {"maximum": 3}}, 5, ("", "maximum")),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"const": 1}}}, 2, ("", "const")),
        ({"enum": [1, 2]}, True, ("", "enum")),
        ({"pattern": "^a$"}, "a\n", ("", "pattern")),
        ({"multipleOf": 0.1}, 0.35, ("", "multipleOf")),
    ],
)
def test_each_rule_is_named_with_its_place(schema, value, expected):
    assert told(schema, value) == [expected]


def test_alternatives_say_why_each_was_refused():
    schema = {"anyOf": [{"type": "null"}, {"properties": {"a": {"minimum": 3}}}]}
    (problem,) = compile_schema(schema).problems({"a": 1})
    assert "must be null, not an object" in problem.message
    assert "/a: must be at least 3" in problem.message


def test_a_number_in_quotes_is_recognised():
    (problem,) = compile_schema({"type": "number"}).problems("21.5")
    assert "without quotes" in problem.message


def test_values_are_shortened_and_inert():
    (problem,) = compile_schema({"type": "number"}).problems("\x1b[31m" + "x" * 10_000)
    assert len(problem.value) <= 80
    assert "\x1b" not in problem.value


# What is no JSON.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"temp": float("nan"), "ts": 5}, [("/temp", "finite"), ("/ts", "type")]),
        ({"ts": "a", "temp": float("inf")}, [("/temp", "finite")]),
        ({"temp": float("nan")}, [("/temp", "finite"), ("", "required")]),
        ({"ts": "\ud800", "temp": 1}, [("/ts", "unicode")]),
        ({1: 2}, [("", "key")]),
        ({"ts": b"x", "temp": 1}, [("/ts", "type")]),
        ({"ts": "a", "temp": 1, "tags": ("a",)}, [("/tags", "type")]),
    ],
)
def test_what_is_no_json_is_told_with_the_rest(value, expected):
    compiled = compile_schema(READINGS)
    assert sorted(told(READINGS, value)) == sorted(expected)
    assert not any(verdict(value) for verdict in engines(compiled).values())


@pytest.mark.parametrize(
    "value", [float("nan"), {"a": "\ud800"}, {"\ud800": 1}, {1: 2}, [()], {"a": object()}]
)
def test_what_is_no_json_satisfies_no_schema_not_even_true(value):
    assert not any(verdict(value) for verdict in engines(compile_schema(True)).values())


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_depth_is_limited_alike_everywhere():
    compiled = compile_schema(True)
    itself: list = []
    itself.append(itself)
    for verdict in engines(compiled).values():
        assert verdict(nested(MAX_DEPTH))
        assert not verdict(nested(MAX_DEPTH + 1))
        assert not verdict(nested(100_000))
        assert not verdict(itself)


# Schemas that are refused.


@pytest.mark.parametrize(
    ("schema", "pointer", "rule", "hint"),
    [
        ({"minumum": 3}, "/minumum", "minumum", "did you mean minimum?"),
        ({"properties": {"a/b": {"typ": "x"}}}, "/properties/a~1b/typ", "typ", "did you mean type?"),
        (
            {"unevaluatedProperties": False},
            "/unevaluatedProperties",
            "unevaluatedProperties",
            "additionalProperties",
        ),
        ({"definitions": {}}, "/definitions", "definitions", "$defs"),
        ({"items": [{}]}, "/items", "items", "prefixItems"),
        ({"type": "float"}, "/type", "type", "number"),
        ({"type": ["string", "string"]}, "/type", "type", ""),
        ({"type": [{}]}, "/type", "type", ""),
        ({"minimum": "3"}, "/minimum", "minimum", "number"),
        ({"exclusiveMinimum": True}, "/exclusiveMinimum", "exclusiveMinimum", "minimum"),
        (
            {"properties": {"a": {"required": True}}},
            "/properties/a/required",
            "required",
            "beside properties",
        ),
        ({"multipleOf": 0}, "/multipleOf", "multipleOf", "above 0"),
        ({"minLength": -1}, "/minLength", "minLength", "0 or above"),
        ({"allOf": []}, "/allOf", "allOf", "at least one"),
        ({"not": 3}, "/not", "schema", "object, true or false"),
        ({"pattern": "(?=a)"}, "/pattern", "pattern", "look-around"),
        ({"patternProperties": {"\\bx": {}}}, "/patternProperties/\\bx", "patternProperties", "\\b"),
        ({"$ref": "#/$defs/x"}, "/$ref", "$ref", "$defs"),
        ({"$ref": "#nme", "$anchor": "name"}, "/$ref", "$ref", "did you mean #name?"),
        ({"$ref": "other.json"}, "/$ref", "$ref", "within this schema"),
        ({"$ref": "#/properties"}, "/$ref", "$ref", "no subschema"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema", "$schema", "2020-12"),
        ({"properties": {"a": {"$id": "x"}}}, "/properties/a/$id", "$id", "root"),
        ({"allOf": [{"$anchor": "a"}, {"$anchor": "a"}]}, "/allOf/1/$anchor", "$anchor", "twice"),
        ('{"type": "string", "type": "number"}', "", "json", "twice"),
        ('{"minimum": NaN}', "", "json", "NaN"),
        ("{", "", "json", "not JSON"),
        ({"minimum": float("inf")}, "/minimum", "finite", ""),
        (None, "", "schema", "dict"),
    ],
)
def test_what_is_outside_the_profile_is_refused_with_place_and_advice(schema, pointer, rule, hint):
    (problem,) = refused(schema)
    assert (problem.pointer, problem.rule) == (pointer, rule)
    assert hint in problem.message


def test_every_problem_of_a_schema_is_told():
    assert len(refused({"minumum": 3, "type": "float", "properties": {"a": {"pattern": "("}}})) == 3


@pytest.mark.parametrize("keyword", sorted(keywords.REFUSED))
def test_keywords_that_people_bring_along_are_refused_with_what_to_write_instead(keyword):
    (problem,) = refused({keyword: {}})
    assert problem.rule == keyword
    assert keywords.REFUSED[keyword] in problem.message


def test_own_keys_and_notes_are_kept_and_decide_nothing():
    schema = {"x-unit": {"any": ["thing"]}, "title": "t", "format": "date-time", "default": 3, "$id": "urn:x"}
    assert compile_schema(schema).is_valid("not a date")


def test_what_we_accept_the_meta_schema_accepts():
    samples = {
        "type": ["string", ["null", "array"]],
        "enum": [[], [1, {}]],
        "required": [[], ["a"]],
        "minLength": [0, 2.0],
        "multipleOf": [0.1, 3],
        "dependentRequired": [{}, {"a": ["b"]}],
        "$anchor": ["a", "_b-c.d"],
        "examples": [[], [1]],
        "deprecated": [True],
        "contentSchema": [True, {}],
    }
    for keyword, values in samples.items():
        for value in values:
            compile_schema({keyword: value})
            Draft202012Validator.check_schema({keyword: value})


def test_the_published_profile_names_every_keyword():
    text = Path(__file__).parents[2].joinpath("docs", "schema-profile.md").read_text(encoding="utf-8")
    missing = [name for name in {*keywords.KNOWN, *keywords.REFUSED} if f"`{name}`" not in text]
    assert not missing


# The text and its name.


def test_received_text_is_kept_byte_for_byte():
    text = ' {"type" :\n"number", "minimum": 1.50}'
    compiled = compile_schema(text)
    assert compiled.text == text
    assert compiled.hash == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_a_mapping_is_written_the_same_way_each_time():
    compiled = compile_schema({"title": "Größe", "minimum": 1.0, "type": "number"})
    assert compiled.text == '{"title":"Größe","minimum":1.0,"type":"number"}'
    assert compile_schema(compiled.text) == compiled
    assert json.loads(compiled.text) == compiled.schema


def test_a_compiled_schema_travels_to_other_processes():
    compiled = compile_schema(READINGS)
    assert pickle.loads(pickle.dumps(compiled)) == compiled
    assert len({compiled, compile_schema(READINGS)}) == 1


def test_schemas_from_rooms_are_remembered_and_refusals_are_values():
    text = json.dumps(READINGS)
    assert isinstance(cached_schema(text), CompiledSchema)
    assert cached_schema(text) is cached_schema(text)
    assert isinstance(cached_schema("{"), SchemaError)
    assert cached_schema.cache_info().maxsize == 256


# Numbers.


BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("schema", "value", "valid"),
    [
        ({"type": "integer"}, 1.0, True),
        ({"type": "integer"}, 1e308, True),
        ({"type": "integer"}, True, False),
        ({"type": "number"}, False, False),
        ({"const": 1}, True, False),
        ({"const": [1, {"a": 0}]}, [1.0, {"a": -0.0}], True),
        ({"const": [1]}, [True], False),
        ({"minimum": BIG}, float(2**53), False),
        ({"maximum": float(2**53)}, BIG, False),
        ({"const": BIG}, float(2**53), False),
        ({"exclusiveMaximum": 2**64}, 2**64 - 1, True),
        ({"maximum": 2**64 - 1}, float(2**64), False),
        ({"const": float(2**63)}, 2**63, True),
        ({"enum": [2**64 - 1]}, 2**64 - 1, True),
        ({"exclusiveMinimum": 0}, -0.0, False),
        ({"multipleOf": 0.1}, 0.3, True),
        ({"multipleOf": 0.01}, 19.99, True),
        ({"multipleOf": 0.0001}, 0.00751, False),
        ({"multipleOf": 3}, 2**64 - 1, True),
        ({"multipleOf": 1e-8}, 12391239123, True),
        ({"multipleOf": 5e-324}, 1e308, True),
        ({"multipleOf": 7}, 1e22, False),
        ({"uniqueItems": True}, [[1], [True], [1]], False),
        ({"uniqueItems": True}, [2**63, float(2**63)], False),
        ({"uniqueItems": True}, [1, True, "1", [1], None, "", {}], True),
        ({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2.0, "a": 1}], False),
        ({"minLength": 2}, "\U0001f600", False),
    ],
)
def test_numbers_and_equality_are_exact_in_every_engine(schema, value, valid):
    for engine, verdict in engines(compile_schema(schema)).items():
        assert verdict(value) is valid, engine


# Where it runs.


def test_importing_the_package_does_not_load_the_engines():
    code = (
        "import sys, matrixdata.validation as v\n"
        "assert not {'jsonschema', 'jsonschema_rs', 'referencing', 'pandas'} & set(sys.modules)\n"
        "assert v.compile_schema({'type': 'null'}).is_valid(None)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_it_works_without_jsonschema_rs():
    code = (
        "import sys; sys.modules['jsonschema_rs'] = None\n"
        "from matrixdata.validation import compile_schema\n"
        "c = compile_schema({'pattern': '^a+$'})\n"
        "assert c.is_valid('aa') and not c.is_valid('b') and c.problems('b')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_one_schema_serves_many_threads():
    compiled = without_rust(compile_schema(READINGS))
    values = [{"ts": "a", "temp": n} for n in range(200)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(compiled.is_valid, values)) == [n <= 100 for n in range(200)]


def test_the_verdict_does_not_depend_on_how_deep_the_caller_stands():
    longer = {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "n": {"type": "number"}}
    compiled = without_rust(compile_schema({"properties": longer}))
    good, bad = {"n": 1, "next": None}, {"n": "x", "next": None}
    for _ in range(MAX_DEPTH - 1):
        good, bad = {"next": good}, {"next": bad}

    def deep(levels):
        if levels:
            return deep(levels - 1)
        return compiled.is_valid(good), compiled.is_valid(bad), len(compiled.problems(bad))

    assert {deep(levels) for levels in (0, 300, 600, 700)} == {(True, False, 1)}
