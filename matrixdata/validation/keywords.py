"""The keywords of the profile: what each may hold, and what to write instead of those left out.

docs/schema-profile.md is the same list for people; a test holds the two together.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.model.json import JSON

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

TYPES: Final = ("null", "boolean", "object", "array", "number", "string", "integer")

SCHEMA: Final = frozenset(
    {"additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"}
)
"""Keywords that hold one schema."""
SCHEMA_LIST: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
"""Keywords that hold a list of schemas."""
SCHEMA_MAP: Final = frozenset({"$defs", "dependentSchemas", "patternProperties", "properties"})
"""Keywords that hold schemas by name."""


def _type(value: JSON) -> str:
    names = value if isinstance(value, list) else [value]
    wrong = [name for name in names if name not in TYPES]
    if not names or wrong or len(set(map(str, names))) != len(names):
        return f"must be one of {', '.join(TYPES)}, or a list of different ones"
    return ""


def _number(value: JSON) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        return "must be a number"
    return ""


def _positive(value: JSON) -> str:
    return _number(value) or ("" if isinstance(value, (int, float)) and value > 0 else "must be above 0")


def _count(value: JSON) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return "must be a whole number, 0 or above"
    return ""


def _names(value: JSON) -> str:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return "must be a list of property names"
    return "" if len(set(map(str, value))) == len(value) else "names a property twice"


def _names_map(value: JSON) -> str:
    if not isinstance(value, dict):
        return "must map property names to lists of property names"
    return next((problem for names in value.values() if (problem := _names(names))), "")


def _flag(value: JSON) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _text(value: JSON) -> str:
    return "" if isinstance(value, str) else "must be text"


def _list(value: JSON) -> str:
    return "" if isinstance(value, list) else "must be a list"


def _anything(value: JSON) -> str:  # noqa: ARG001  one signature for every keyword
    return ""


def _anchor(value: JSON) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9._-]*", value):
        return ""
    return "must be a name of ASCII letters, digits, '-', '_' and '.', that starts with a letter or '_'"


VALUES: Final[dict[str, Callable[[JSON], str]]] = {
    "type": _type,
    "enum": _list,
    "const": _anything,
    "minimum": _number,
    "maximum": _number,
    "exclusiveMinimum": _number,
    "exclusiveMaximum": _number,
    "multipleOf": _positive,
    "minLength": _count,
    "maxLength": _count,
    "pattern": _text,
    "minItems": _count,
    "maxItems": _count,
    "uniqueItems": _flag,
    "minContains": _count,
    "maxContains": _count,
    "minProperties": _count,
    "maxProperties": _count,
    "required": _names,
    "dependentRequired": _names_map,
    "$ref": _text,
}
"""Keywords that assert something by their own value; the function says what is wrong with one, or ""."""

NOTES: Final[dict[str, Callable[[JSON], str]]] = {
    "$anchor": _anchor,
    "$comment": _text,
    "title": _text,
    "description": _text,
    "default": _anything,
    "examples": _list,
    "deprecated": _flag,
    "readOnly": _flag,
    "writeOnly": _flag,
    "format": _text,
    "contentEncoding": _text,
    "contentMediaType": _text,
    "contentSchema": _anything,
}
"""Keywords that are read and kept but never make a record invalid."""

ROOT_ONLY: Final = frozenset({"$id", "$schema"})

KNOWN: Final = frozenset({*SCHEMA, *SCHEMA_LIST, *SCHEMA_MAP, *VALUES, *NOTES, *ROOT_ONLY})

REFUSED: Final = {
    "$dynamicRef": "references are fixed here; write $ref",
    "$dynamicAnchor": "references are fixed here; write $anchor",
    "$recursiveRef": "this is draft 2019-09; write $ref",
    "$recursiveAnchor": "this is draft 2019-09; write $anchor",
    "$vocabulary": "it belongs in a meta-schema, not in a schema",
    "unevaluatedProperties": "its cost has no bound; list every property and write additionalProperties",
    "unevaluatedItems": "its cost has no bound; write prefixItems with items",
    "definitions": "since draft 2019-09 it is called $defs; rename it and the $refs into it",
    "dependencies": "since draft 2019-09 it is two keywords: dependentRequired and dependentSchemas",
    "additionalItems": "in draft 2020-12 write prefixItems for the first items and items for the rest",
    "id": "since draft 6 it is called $id",
    "divisibleBy": "since draft 4 it is called multipleOf",
    "extends": "since draft 4 write allOf",
    "disallow": "since draft 4 write not",
    "nullable": 'this is OpenAPI; write "type": ["string", "null"]',
    "discriminator": "this is OpenAPI; write oneOf with a const in each alternative",
    "example": "this is OpenAPI; write examples, a list",
    "optional": "a property is optional unless it is named in required",
    "regex": "the keyword is called pattern",
    "min": "the keyword is called minimum",
    "max": "the keyword is called maximum",
    "length": "write minLength and maxLength",
}
"""Keywords that people bring along, each with what to write instead."""
