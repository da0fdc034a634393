"""The engine that defines the verdict: jsonschema, with the keywords replaced where it is inexact or unbounded.

Works on a lowered schema: references are resolved objects, patterns are automata, enums are sets. Nothing is
looked up by URI, so nothing can reach the network. docs/decisions/0002-one-verdict.md says why each differs.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

from matrixdata.model.json import pointer
from matrixdata.model.problem import safe_text, shown
from matrixdata.validation.automaton import automaton
from matrixdata.validation.equality import Choices, first_repeat
from matrixdata.validation.keywords import SCHEMA, SCHEMA_LIST, SCHEMA_MAP
from matrixdata.validation.messages import message
from matrixdata.validation.shape import as_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jsonschema.exceptions import ValidationError

    from matrixdata.model.json import JSON
    from matrixdata.validation.automaton import Automaton
    from matrixdata.validation.shape import Node

    # A lowered schema holds automata and such beside JSON, and may contain itself.
    Lowered = dict[str, Any]

    class Judge(Protocol):
        """What these keywords use of jsonschema's validator (its stubs leave `descend` out)."""

        def descend(
            self, instance: JSON, schema: Lowered, path: str | None = None, schema_path: str | None = None
        ) -> Iterator[ValidationError]:
            """Judge a part of the value by a subschema."""

        def iter_errors(self, instance: object) -> Iterator[ValidationError]:
            """Judge a whole value, every error in turn."""

        def is_valid(self, instance: object) -> bool:
            """Judge a whole value, up to the first error."""


_MOST_REASONS: Final = 3
_KEPT_VALUES: Final = frozenset(
    {
        "type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
        "maxLength", "minItems", "maxItems", "uniqueItems", "minContains", "maxContains", "minProperties",
        "maxProperties", "required", "dependentRequired",
    }
)  # fmt: skip


# jsonschema loses the place of a `false` schema, so it is a keyword of its own here.
_FORBIDDEN: Final[dict[str, Any]] = {"false": True}


def lower(nodes: list[Node]) -> Lowered:
    """The schema of these nodes as jsonschema gets it here; annotations and unused definitions are left out."""
    done: list[Lowered] = [_FORBIDDEN if node.schema is False else {} for node in nodes]
    for node, out in zip(nodes, done, strict=True):
        if isinstance(node.schema, dict):
            out.update(_lowered_values(node))
            out.update(_lowered_children(node, done))
            if node.target >= 0:
                out["$ref"] = done[node.target]
    return done[0]


def _lowered_values(node: Node) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for keyword, value in as_object(node).items():
        if keyword in _KEPT_VALUES:
            out[keyword] = value
        elif keyword == "enum" and isinstance(value, list):
            out[keyword] = Choices(value)
        elif keyword == "const":
            out[keyword] = Choices([value])
        elif keyword == "pattern":
            out[keyword] = automaton(str(value))
    return out


def _lowered_children(node: Node, done: list[Lowered]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for keyword, children in node.children.items():
        if keyword in SCHEMA:
            out[keyword] = done[children[0][1]]
        elif keyword in SCHEMA_LIST:
            out[keyword] = [done[number] for _, number in children]
        elif keyword == "patternProperties":
            out[keyword] = [(automaton(name), done[number]) for name, number in children]
        elif keyword in SCHEMA_MAP and keyword != "$defs":
            out[keyword] = {name: done[number] for name, number in children}
    return out


@cache
def _error() -> type[ValidationError]:
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415  `import matrixdata` stays light

    return ValidationError


def _false(_: object, __: object, ___: JSON, ____: object) -> Iterator[ValidationError]:
    yield _error()("the schema allows nothing here")


def _reference(validator: Judge, target: Lowered, value: JSON, _: object) -> Iterator[ValidationError]:
    yield from validator.descend(value, target)


def _enum(_: object, choices: Choices, value: JSON, __: object) -> Iterator[ValidationError]:
    if value not in choices:
        shortest = ", ".join(shown(choice, 40) for choice in choices.values[:10])
        more = f" … ({len(choices.values)} in all)" if len(choices.values) > 10 else ""
        yield _error()(f"must be one of {shortest}{more}")


def _const(_: object, choices: Choices, value: JSON, __: object) -> Iterator[ValidationError]:
    if value not in choices:
        yield _error()(f"must be {shown(choices.values[0])}")


def _multiple_of(_: object, divisor: float, value: JSON, __: object) -> Iterator[ValidationError]:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not is_multiple(value, divisor):
        yield _error()(f"must be a multiple of {shown(divisor)}")


def is_multiple(value: float, divisor: float) -> bool:
    """Whether `value` is a multiple of `divisor`, both taken as the decimal numbers that they print as.

    So 0.3 is a multiple of 0.1, though neither double is exactly what it says.
    """
    if isinstance(value, int) and isinstance(divisor, int):
        return value % divisor == 0
    return (_decimal(value) / _decimal(divisor)).denominator == 1


def _decimal(number: float) -> Fraction:
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))


def _unique_items(_: object, wanted: bool, value: JSON, __: object) -> Iterator[ValidationError]:
    if wanted and isinstance(value, list) and (pair := first_repeat(value)):
        yield _error()(f"must not hold the same item twice; items {pair[0]} and {pair[1]} are equal")


def _pattern(_: object, pattern: Automaton, value: JSON, __: object) -> Iterator[ValidationError]:
    if isinstance(value, str) and not pattern.search(value):
        yield _error()(f"must match the pattern {shown(pattern.text)}")


def _pattern_properties(
    validator: Judge, patterns: list[tuple[Automaton, Lowered]], value: JSON, _: object
) -> Iterator[ValidationError]:
    if isinstance(value, dict):
        for pattern, schema in patterns:
            for key, item in value.items():
                if pattern.search(key):
                    yield from validator.descend(item, schema, path=key, schema_path=pattern.text)


def _additional_properties(
    validator: Judge, schema: Lowered, value: JSON, parent: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(value, dict):
        return
    named, patterns = parent.get("properties", {}), parent.get("patternProperties", ())
    for key, item in value.items():
        if key in named or any(pattern.search(key) for pattern, _ in patterns):
            continue
        if schema is _FORBIDDEN:
            known = ", ".join(shown(name, 30) for name in list(named)[:10])
            allowed = f"; it names {known}{' …' * (len(named) > 10)}" if named else ""
            error = _error()(f"the schema has no property of this name{allowed}", instance=item)
            error.path.appendleft(key)
            yield error
        else:
            yield from validator.descend(item, schema, path=key)


def _property_names(validator: Judge, schema: Lowered, value: JSON, _: object) -> Iterator[ValidationError]:
    if isinstance(value, dict):
        for key in value:
            if reasons := _reasons(validator, schema, key):
                # A JSON Pointer cannot point at a name, so it points at what the name holds.
                error = _error()(f"this name is refused: {reasons[0]}", instance=key)
                error.path.appendleft(key)
                yield error


def _reasons(validator: Judge, schema: Lowered, value: JSON) -> list[str]:
    """Why a value fails one alternative: the first few reasons, evaluated once; empty when it does not."""
    out = []
    for error in islice(validator.descend(value, schema), _MOST_REASONS):
        place = pointer(error.path)
        out.append(f"{safe_text(place)}: {message(error)}" if place else message(error))
    return out


def _alternatives(failed: list[list[str]]) -> str:
    listed = "; ".join(f"({i}) {reasons[0]}" for i, reasons in enumerate(failed[:_MOST_REASONS], 1))
    return listed[:600] + (f"; … {len(failed)} alternatives in all" if len(failed) > _MOST_REASONS else "")


def _any_of(validator: Judge, schemas: list[Lowered], value: JSON, _: object) -> Iterator[ValidationError]:
    failed = []
    for schema in schemas:
        reasons = _reasons(validator, schema, value)
        if not reasons:
            return
        failed.append(reasons)
    yield _error()(f"fits none of the alternatives: {_alternatives(failed)}")


def _one_of(validator: Judge, schemas: list[Lowered], value: JSON, _: object) -> Iterator[ValidationError]:
    failed: list[list[str]] = []
    fitting: list[int] = []
    for number, schema in enumerate(schemas, 1):
        if reasons := _reasons(validator, schema, value):
            failed.append(reasons)
        else:
            fitting.append(number)
            if len(fitting) == 2:
                yield _error()(
                    f"must fit exactly one alternative, but fits numbers {fitting[0]} and {fitting[1]}"
                )
                return
    if not fitting:
        yield _error()(f"fits none of the alternatives: {_alternatives(failed)}")


def _not(validator: Judge, schema: Lowered, value: JSON, _: object) -> Iterator[ValidationError]:
    if not _reasons(validator, schema, value):
        yield _error()("must not fit the schema under not, but does")


def _required(_: object, names: list[str], value: JSON, __: object) -> Iterator[ValidationError]:
    if isinstance(value, dict):
        for name in names:
            if name not in value:
                yield _error()(f"the property {shown(name)} is missing")


def _dependent_required(
    _: object, wanted: dict[str, list[str]], value: JSON, __: object
) -> Iterator[ValidationError]:
    if isinstance(value, dict):
        for name, others in wanted.items():
            if name in value:
                for other in others:
                    if other not in value:
                        yield _error()(f"the property {shown(other)} is missing; {shown(name)} needs it")


_OURS: Final[dict[str, Callable[..., Iterator[Any]]]] = {
    "$ref": _reference,
    "additionalProperties": _additional_properties,
    "anyOf": _any_of,
    "const": _const,
    "dependentRequired": _dependent_required,
    "enum": _enum,
    "false": _false,
    "multipleOf": _multiple_of,
    "not": _not,
    "oneOf": _one_of,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "propertyNames": _property_names,
    "required": _required,
    "uniqueItems": _unique_items,
}


@cache
def _validator_class() -> Callable[..., Judge]:
    from jsonschema import Draft202012Validator  # noqa: PLC0415  `import matrixdata` stays light
    from jsonschema.validators import extend  # noqa: PLC0415  as above

    made: Callable[..., Judge] = extend(Draft202012Validator, _OURS)  # type: ignore[no-untyped-call]  # the stubs leave it untyped
    return made


def build(nodes: list[Node]) -> Judge:
    """The validator of these nodes: jsonschema's, with an empty registry."""
    from referencing import Registry  # noqa: PLC0415  as above

    return _validator_class()(lower(nodes), registry=Registry())
