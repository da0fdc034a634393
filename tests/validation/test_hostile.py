"""Schemas made to harm (bad input B23), each in a process of its own: no network, no hang, no crash."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.faults.harness import Break, fault

pytestmark = pytest.mark.slow

# Runs one schema against values that hurt; prints the refusal's rule, or "accepted".
CHILD = """
import json, socket, sys

def refuse(*a, **k):
    raise SystemExit("reached for the network")

# A class, since the standard library derives from it.
socket.socket = type("Refused", (socket.socket,), {"__init__": refuse})
socket.getaddrinfo = refuse
if sys.argv[1] == "pure":
    sys.modules["jsonschema_rs"] = None
from matrixdata.errors import SchemaError
from matrixdata.validation import compile_schema

try:
    compiled = compile_schema(sys.stdin.read())
except SchemaError as error:
    print(error.problems[0].rule)
    sys.exit()
deep, tree, longlist = [], {}, [{"i": i} for i in range(1500)]
for _ in range(63):
    deep, tree = [deep], {"a": tree, "next": tree if len(str(tree)) < 2000 else None}
values = ["a" * 60_000 + "!", "ab" * 30_000, deep, tree, longlist, longlist * 2, list(range(20_000)), "x", None, {}]
for _ in range(30_000):
    deep = [deep]
for value in [*values, deep]:
    assert compiled.is_valid(value) == (not compiled.problems(value))
print("accepted")
"""


def doubling(levels):
    steps = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**steps, f"d{levels}": {"type": "string"}}}


def chain(length):
    steps = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**steps, f"d{length}": {}}}


def nested(levels, keyword):
    return f'{{"{keyword}":' * levels + "{}" + "}" * levels


TWICE = [{"$ref": "#"}, {"$ref": "#"}]
HOSTILE = {
    "http reference": ({"$ref": "http://127.0.0.1:9/schema.json"}, "$ref"),
    "file reference": ({"items": {"$ref": "file:///etc/passwd"}}, "$ref"),
    "reference resolved against $id": ({"$id": "http://127.0.0.1:9/", "$ref": "other"}, "$ref"),
    "fetched dialect": ({"$schema": "http://127.0.0.1:9/meta"}, "$schema"),
    "reference to itself": ({"$ref": "#"}, "$ref"),
    "alternatives to itself": ({"anyOf": [{"not": {"$ref": "#"}}]}, "$ref"),
    "references in a ring": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        "$ref",
    ),
    "allOf that doubles": (doubling(40), "work"),
    "recursion that doubles": ({"properties": {"a": {"allOf": TWICE}}}, "work"),
    "recursion that doubles by items and contains": (
        {"items": {"$ref": "#"}, "contains": {"$ref": "#"}},
        "work",
    ),
    "recursion that doubles by patterns": (
        {"patternProperties": {"a": {"$ref": "#"}, "^a": {"$ref": "#"}}},
        "work",
    ),
    "just below the limit": (doubling(6), "accepted"),
    "recursion that nests deeply": (
        {"items": {"not": {"not": {"not": {"not": {"not": {"$ref": "#"}}}}}}},
        "nesting",
    ),
    "long chain": (chain(1000), "work"),
    "chain below the limit": (chain(200), "accepted"),
    "nested not": (nested(60, "not"), "accepted"),
    "nested beyond the limit": (nested(70, "not"), "depth"),
    "nested beyond the parser": (nested(4000, "not"), "depth"),
    "open brackets": ("[" * 40_000, "depth"),
    "catastrophic pattern": ({"pattern": "^(a+)+$"}, "accepted"),
    "overlapping alternatives": ({"pattern": "^(a|a)*$"}, "accepted"),
    "quadratic search": ({"pattern": ".*.*.*="}, "accepted"),
    "exponential automaton": ({"pattern": "(a|b)*a(a|b){200}$"}, "accepted"),
    "huge pattern": ({"pattern": "((a{100}){100}){100}"}, "pattern"),
    "a thousand patterns": ({"patternProperties": {f"{i}a": {} for i in range(1000)}}, "patternProperties"),
    "million-fold enum": ({"enum": list(range(10**6))}, "size"),
    "largest enum": ({"items": {"enum": list(range(8000))}}, "accepted"),
    "unique items": ({"uniqueItems": True}, "accepted"),
    "too many subschemas": ({"properties": {f"p{i}": {} for i in range(3000)}}, "subschemas"),
    "number of 5,000 digits": ('{"minimum": ' + "9" * 5000 + "}", "json"),
    "number beyond doubles": ('{"minimum": 1e999}', "json"),
    "thousands of unknown keywords": ({f"minumum{i}": 0 for i in range(2000)}, "minumum0"),
    "long unknown keywords": ({"m" * 400 + str(i): 0 for i in range(100)}, "m" * 80),
    "thousands of lost references": (
        {"allOf": [{"$anchor": f"a{i}", "$ref": f"#b{i}"} for i in range(800)]},
        "$ref",
    ),
    "half a surrogate": ('{"const": "\\ud800"}', "unicode"),
    "linked list": ({"properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}, "accepted"),
    "tree": ({"items": {"$ref": "#"}}, "accepted"),
}


@fault(
    "B23", broken=Break("matrixdata/validation/cost.py", "MAX_WORK: Final = 256", "MAX_WORK: Final = 2**60")
)
@pytest.mark.parametrize("engine", ["both", "pure"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_is_refused_or_harmless(name, engine):
    schema, outcome = HOSTILE[name]
    text = schema if isinstance(schema, str) else json.dumps(schema)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, engine],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (child.returncode, child.stdout.strip()) == (0, outcome), child.stderr
