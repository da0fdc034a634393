"""What is said to people about each keyword that a value breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from matrixdata.model.problem import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from jsonschema.exceptions import ValidationError

    from matrixdata.model.json import JSON

_NAMES: Final = {
    str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list",
    dict: "an object", type(None): "null",
}  # fmt: skip
_WANTED: Final = {
    "string": "text", "boolean": "true or false", "integer": "a whole number", "number": "a number",
    "array": "a list", "object": "an object", "null": "null",
}  # fmt: skip


def _named(value: JSON) -> str:
    return next((name for kind, name in _NAMES.items() if isinstance(value, kind)), type(value).__name__)


def _type_message(wanted: str | list[str], value: JSON) -> str:
    names = wanted if isinstance(wanted, list) else [wanted]
    text = f"must be {' or '.join(_WANTED[name] for name in names)}, not {_named(value)}"
    if isinstance(value, str) and {"number", "integer"} & set(names):
        try:
            float(value)
        except ValueError:
            return text
        return f"{text}; write the number without quotes"
    return text


def _counted(what: str) -> tuple[Callable[[Any, Any], str], Callable[[Any, Any], str]]:
    return (
        lambda bound, value: f"must have at least {bound} {what}, but has {len(value)}",
        lambda bound, value: f"must have at most {bound} {what}, but has {len(value)}",
    )


_MESSAGES: Final[dict[str, Callable[[Any, Any], str]]] = {
    "type": _type_message,
    "minimum": lambda bound, _: f"must be at least {shown(bound)}",
    "maximum": lambda bound, _: f"must be at most {shown(bound)}",
    "exclusiveMinimum": lambda bound, _: f"must be more than {shown(bound)}",
    "exclusiveMaximum": lambda bound, _: f"must be less than {shown(bound)}",
    "minLength": _counted("characters")[0],
    "maxLength": _counted("characters")[1],
    "minItems": _counted("items")[0],
    "maxItems": _counted("items")[1],
    "minProperties": _counted("properties")[0],
    "maxProperties": _counted("properties")[1],
    "contains": lambda _, __: "must hold an item that fits contains",
    "minContains": lambda bound, _: f"must hold at least {bound} items that fit contains",
    "maxContains": lambda bound, _: f"must hold at most {bound} items that fit contains",
}


def rule(error: ValidationError) -> str:
    """The keyword an error is about; "false" where a schema is simply `false`."""
    return str(error.validator)


def message(error: ValidationError) -> str:
    """One sentence for people about an error, without its place."""
    told = _MESSAGES.get(rule(error))
    return told(error.validator_value, error.instance) if told else str(error.message)
