"""Every way to ask a compiled schema for its verdict, so that tests can compare them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.validation import CompiledSchema

if TYPE_CHECKING:
    from collections.abc import Callable


def without_rust(schema: CompiledSchema) -> CompiledSchema:
    """The same schema as a machine without jsonschema-rs compiles it."""
    other = CompiledSchema(schema.text)
    other._fast = None
    return other


def engines(schema: CompiledSchema) -> dict[str, Callable[[object], bool]]:
    pure = without_rust(schema)
    return {
        "is_valid": schema.is_valid,
        "problems": lambda value: not schema.problems(value),
        "is_valid without jsonschema-rs": pure.is_valid,
        "problems without jsonschema-rs": lambda value: not pure.problems(value),
    }
