"""The quick engine: jsonschema-rs, where it is installed and was shown to agree with reference.py.

Only answers yes or no. Gets a schema in a normal form (no ids, no annotations, patterns spelled for it).
Must never be handed a value that `document.plain` refuses: deep nesting ends the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from matrixdata.validation.automaton import automaton
from matrixdata.validation.keywords import SCHEMA, SCHEMA_LIST, SCHEMA_MAP, VALUES
from matrixdata.validation.shape import as_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.model.json import JSON
    from matrixdata.validation.shape import Node

_Plain: TypeAlias = "dict[str, Any] | bool"

_EXACT: Final = 1 << 63


def _inexact(value: JSON) -> bool:
    """Whether a value in a schema holds a number that jsonschema-rs compares by rounding (measured: 2^63 on)."""
    if isinstance(value, dict):
        return any(map(_inexact, value.values()))
    if isinstance(value, list):
        return any(map(_inexact, value))
    return isinstance(value, (int, float)) and not -_EXACT <= value < _EXACT


def agrees(nodes: list[Node]) -> bool:
    """Whether jsonschema-rs gives the reference's verdict for this schema on every plain value."""
    return not any(
        _inexact(value)
        for node in nodes
        for keyword, value in as_object(node).items()
        if keyword in VALUES and keyword not in ("required", "dependentRequired", "pattern")
    )


class _Lowering:
    """Spells the nodes as plain JSON, each target of a `$ref` once, under `$defs` by number."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.targets = {node.target for node in nodes if node.target >= 0}

    def whole(self) -> _Plain:
        root = self.body(0)
        if isinstance(root, dict) and self.targets:
            root["$defs"] = {f"r{number}": self.body(number) for number in sorted(self.targets - {0})}
        return root

    @staticmethod
    def to(target: int) -> dict[str, Any]:
        return {"$ref": f"#/$defs/r{target}" if target else "#"}

    def place(self, number: int) -> _Plain:
        return self.to(number) if number in self.targets else self.body(number)

    def body(self, number: int) -> _Plain:
        node = self.nodes[number]
        if not isinstance(node.schema, dict):
            return bool(node.schema)
        out = {
            keyword: automaton(str(value)).portable if keyword == "pattern" else value
            for keyword, value in node.schema.items()
            if keyword in VALUES and keyword != "$ref"
        }
        for keyword, children in node.children.items():
            if keyword in SCHEMA:
                out[keyword] = self.place(children[0][1])
            elif keyword in SCHEMA_LIST:
                out[keyword] = [self.place(child) for _, child in children]
            elif keyword == "patternProperties":
                out[keyword] = self.patterns(children)
            elif keyword in SCHEMA_MAP and keyword != "$defs":
                out[keyword] = {name: self.place(child) for name, child in children}
        if node.target >= 0:
            out |= self.to(node.target)
        return out

    def patterns(self, children: list[tuple[str, int]]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, child in children:
            spelled = automaton(name).portable
            while spelled in out:  # two spellings of one pattern, such as \d and [0-9], both apply
                spelled = f"(?:{spelled})"
            out[spelled] = self.place(child)
        return out


def build(nodes: list[Node]) -> Callable[[Any], bool] | None:
    """jsonschema-rs's verdict for a schema, or None where the reference must judge."""
    try:
        from jsonschema_rs import Draft202012Validator, RegexOptions  # noqa: PLC0415  absent on 32-bit ARM
    except ImportError:
        return None
    if not agrees(nodes):
        return None
    try:
        validator = Draft202012Validator(
            _Lowering(nodes).whole(), offline=True, validate_formats=False, pattern_options=RegexOptions()
        )
    except ValueError:
        # For example a pattern beyond the regex crate's size limit. The reference judges it.
        return None
    return validator.is_valid
