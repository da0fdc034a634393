"""Column types read from a JSON Schema, however it says them, and however hostile it is."""

from __future__ import annotations

import time

import pytest

from matrixdata.frames import ListOf, Scalar, schema_columns


def declared(**properties: object) -> dict:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"type": "boolean"}, Scalar.BOOLEAN),
        ({"type": "integer"}, Scalar.INTEGER),
        ({"type": "number", "minimum": 0}, Scalar.NUMBER),
        ({"type": ["integer", "number", "null"]}, Scalar.NUMBER),
        ({"type": ["null", "string"]}, Scalar.STRING),
        ({"type": "string", "format": "date-time"}, Scalar.TIMESTAMP),
        ({"type": "string", "format": "date"}, Scalar.STRING),
        ({"enum": ["on", "off", None]}, Scalar.STRING),
        ({"const": 1}, Scalar.INTEGER),
        ({"enum": [1, "a"]}, Scalar.JSON),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, Scalar.INTEGER),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, Scalar.JSON),
        ({"allOf": [{"type": "number"}, {"type": "integer"}]}, Scalar.INTEGER),
        ({"type": ["string", "null"], "anyOf": [{"minLength": 3}, {"maxLength": 1}]}, Scalar.STRING),
        ({"$ref": "#/$defs/percent"}, Scalar.NUMBER),
        ({"$ref": "#/$defs/a~1b%25", "description": "escaped"}, Scalar.BOOLEAN),
        ({"$ref": "https://elsewhere.invalid/x.json"}, Scalar.JSON),
        ({"$ref": "#/$defs/absent"}, Scalar.JSON),
        ({"type": "array", "items": {"type": "number"}}, ListOf(Scalar.NUMBER)),
        (
            {"type": ["array", "null"], "items": {"type": "array", "items": {"type": "integer"}}},
            ListOf(ListOf(Scalar.INTEGER)),
        ),
        ({"type": "array", "items": {"type": "object"}}, Scalar.JSON),
        ({"type": "array"}, Scalar.JSON),
        ({"minimum": 0}, Scalar.JSON),
        (True, Scalar.JSON),
    ],
)
def test_a_property_has_the_type_its_schema_says(node: object, expected: object) -> None:
    schema = declared(x=node) | {"$defs": {"percent": {"type": "number"}, "a/b%": {"type": "boolean"}}}

    assert schema_columns(schema) == {("x",): expected}


def test_columns_stand_in_the_schemas_order_and_nested_objects_are_their_members() -> None:
    schema = declared(
        z={"type": "integer"}, place=declared(lat={"type": "number"}, **{"a.b": {"type": "string"}}), a=True
    )

    assert list(schema_columns(schema)) == [("z",), ("place", "lat"), ("place", "a.b"), ("a",)]


def test_branches_of_a_union_all_declare_their_columns() -> None:
    schema = {
        "oneOf": [
            declared(kind={"const": "a"}, x={"type": "integer"}),
            declared(kind={"const": "b"}, x={"type": "number"}),
        ]
    }

    assert schema_columns(schema) == {("kind",): Scalar.STRING, ("x",): Scalar.NUMBER}


@pytest.mark.parametrize(
    "schema", [None, True, False, [], "text", {"properties": 5}, {"type": 7}, {"allOf": {}, "$ref": 3}]
)
def test_what_declares_nothing_gives_no_columns(schema: object) -> None:
    assert schema_columns(schema) == {}


def test_a_recursive_schema_ends() -> None:
    tree = declared(value={"type": "integer"}, left={"$ref": "#"}, right={"$ref": "#"})

    assert schema_columns(tree)[("value",)] is Scalar.INTEGER
    assert schema_columns({"$ref": "#"}) == {}


@pytest.mark.parametrize("word", ["allOf", "properties", "anyOf"])
def test_a_schema_that_doubles_at_every_step_costs_no_time(word: str) -> None:
    def twice(n: int) -> dict:
        both = [{"$ref": f"#/$defs/d{n + 1}"}] * 2
        return {word: dict(zip("ab", both, strict=True)) if word == "properties" else both}

    schema = twice(-1) | {"$defs": {f"d{n}": twice(n) for n in range(60)}}
    started = time.process_time()

    assert len(schema_columns(schema)) <= 2_000
    assert time.process_time() - started < 20  # unbounded it would take longer than the universe has lasted
