"""Walks a parsed schema once: every keyword checked against the profile, every subschema and reference found.

Collects problems instead of stopping at the first, and builds the list of nodes that later steps work on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from matrixdata.model.json import pointer_token
from matrixdata.model.problem import Problem, safe_text, shown
from matrixdata.validation import keywords
from matrixdata.validation.automaton import automaton
from matrixdata.validation.pattern import PatternError, steps

if TYPE_CHECKING:
    from matrixdata.model.json import JSON, JSONObject

MAX_SUBSCHEMAS: Final = 2000
MAX_PATTERNS: Final = 200
MAX_ALL_STEPS: Final = 4096
_MOST_PROBLEMS: Final = 100


@dataclass(slots=True)
class Node:
    """One subschema: where it stands, what it says, and the numbers of the subschemas it uses, by keyword.

    `children[keyword]` lists (name or index, node number) pairs; `target` is where `$ref` leads.
    """

    pointer: str
    schema: JSON
    children: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    target: int = -1


@dataclass(slots=True)
class Walk:
    """Everything found in one schema. `nodes[0]` is the root."""

    nodes: list[Node] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)
    _anchors: dict[str, int] = field(default_factory=dict)
    _patterns: int = 0
    _steps: int = 0

    @property
    def full(self) -> bool:
        """Whether enough problems were found; looking for hints to more of them would only cost time."""
        return len(self.problems) >= _MOST_PROBLEMS

    def refuse(self, pointer: str, rule: str, message: str, value: JSON = None) -> None:
        """Add a problem, up to a bound."""
        if not self.full:
            self.problems.append(Problem(pointer, rule, message, "" if value is None else shown(value)))

    def visit(self, schema: JSON, pointer: str) -> int:
        """Check one subschema and all below it; returns its number. Depth is bounded by the parser."""
        number = len(self.nodes)
        node = Node(pointer, schema)
        self.nodes.append(node)
        self._places[pointer] = number
        if isinstance(schema, dict):
            if number < MAX_SUBSCHEMAS:
                for keyword, value in schema.items():
                    self._keyword(node, number, keyword, value)
            elif number == MAX_SUBSCHEMAS:
                self.refuse(
                    pointer, "subschemas", f"more than {MAX_SUBSCHEMAS} subschemas; split the collection"
                )
        elif not isinstance(schema, bool):
            self.refuse(pointer, "schema", "a schema must be an object, true or false", schema)
        return number

    def _keyword(self, node: Node, number: int, keyword: str, value: JSON) -> None:
        at = f"{node.pointer}/{pointer_token(keyword)}"
        if keyword in keywords.SCHEMA:
            if keyword == "items" and isinstance(value, list):
                self.refuse(at, keyword, "in draft 2020-12 a list of schemas is called prefixItems")
            else:
                node.children[keyword] = [("", self.visit(value, at))]
        elif keyword in keywords.SCHEMA_LIST:
            if not isinstance(value, list) or not value:
                self.refuse(at, keyword, "must be a list of at least one schema", value)
            else:
                node.children[keyword] = [
                    (str(i), self.visit(item, f"{at}/{i}")) for i, item in enumerate(value)
                ]
        elif keyword in keywords.SCHEMA_MAP:
            self._map(node, keyword, value, at)
        elif keyword in keywords.ROOT_ONLY:
            self._root_only(keyword, value, at)
        else:
            self._value(number, keyword, value, at)

    def _map(self, node: Node, keyword: str, value: JSON, at: str) -> None:
        if not isinstance(value, dict):
            self.refuse(at, keyword, "must be an object that maps names to schemas", value)
            return
        node.children[keyword] = [
            (name, self.visit(item, f"{at}/{pointer_token(name)}")) for name, item in value.items()
        ]
        if keyword == "patternProperties":
            for pattern in value:
                self._pattern(pattern, f"{at}/{pointer_token(pattern)}", keyword)

    def _value(self, number: int, keyword: str, value: JSON, at: str) -> None:
        check = keywords.VALUES.get(keyword) or keywords.NOTES.get(keyword)
        if check is None:
            if not keyword.startswith("x-"):
                self._unknown(keyword, value, at)
            return
        if problem := self._draft_4(keyword, value) or check(value):
            self.refuse(at, keyword, problem, value)
        elif keyword == "pattern":
            self._pattern(str(value), at, keyword)
        elif keyword == "$anchor":
            if self._anchors.setdefault(str(value), number) != number:
                self.refuse(at, keyword, "this anchor is used twice", value)
        elif keyword == "contentSchema" and not isinstance(value, (dict, bool)):
            self.refuse(at, keyword, "must be a schema", value)

    @staticmethod
    def _draft_4(keyword: str, value: JSON) -> str:
        if keyword in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool):
            return f"since draft 6 it is a number; write it instead of {keyword[9:].lower()}"
        if keyword == "required" and isinstance(value, bool):
            return "since draft 4 it is a list of names beside properties"
        return ""

    def _unknown(self, keyword: str, value: JSON, at: str) -> None:
        if self.full:
            return
        name = safe_text(keyword)[:80]
        if advice := keywords.REFUSED.get(keyword):
            self.refuse(at, keyword, f"{name} is outside the profile: {advice}", value)
            return
        close = get_close_matches(keyword[:80], sorted(keywords.KNOWN), 1, 0.75)
        hint = f"did you mean {close[0]}?" if close else "prefix keys of your own with 'x-'"
        self.refuse(at, name, f"there is no keyword {name!r} in draft 2020-12; {hint}", value)

    def _root_only(self, keyword: str, value: JSON, at: str) -> None:
        if at != f"/{keyword}":
            self.refuse(
                at, keyword, f"{keyword} may only stand at the root of a schema; remove it here", value
            )
        elif keyword == "$schema":
            if not isinstance(value, str) or value.removesuffix("#") != keywords.DIALECT:
                self.refuse(at, keyword, f"must be {keywords.DIALECT!r} or be left out", value)
        elif not isinstance(value, str) or "#" in value.removesuffix("#"):
            self.refuse(at, keyword, "must be a URI without a fragment", value)

    def _pattern(self, pattern: str, at: str, keyword: str) -> None:
        try:
            found = automaton(pattern)
        except PatternError as error:
            self.refuse(at, keyword, str(error), pattern)
            return
        self._patterns += 1
        self._steps += sum(steps(branch.body) for branch in found.branches)
        if self._patterns > MAX_PATTERNS or self._steps > MAX_ALL_STEPS:
            self.refuse(
                at,
                keyword,
                f"the patterns of one schema may have {MAX_ALL_STEPS} steps in all and number {MAX_PATTERNS}; "
                "use enum, minLength or maxLength where you can",
            )

    def link(self) -> None:
        """Find the target of each `$ref`, once every subschema is known."""
        for node in self.nodes:
            if self.full:
                return
            if isinstance(node.schema, dict) and isinstance(reference := node.schema.get("$ref"), str):
                target, advice = self._target(reference)
                if target is None:
                    self.refuse(f"{node.pointer}/$ref", "$ref", advice, reference)
                else:
                    node.target = target

    def _target(self, reference: str) -> tuple[int | None, str]:
        if not reference.startswith("#"):
            return None, "only references within this schema are followed: '#', '#/$defs/…' or '#anchor'"
        fragment = unquote(reference[1:])
        if not fragment or fragment.startswith("/"):
            return self._places.get(fragment), "no subschema stands there; copy it to $defs and refer to that"
        close = get_close_matches(fragment[:80], sorted(self._anchors)[:50], 1)
        return self._anchors.get(fragment), "no $anchor has this name" + (
            f"; did you mean #{close[0]}?" if close else ""
        )


def walk(schema: JSON) -> Walk:
    """Walk a whole parsed schema. Look at `.problems` before using `.nodes`."""
    found = Walk()
    found.visit(schema, "")
    found.link()
    return found


def as_object(node: Node) -> JSONObject:
    """The keywords of a node; none for the boolean schemas."""
    return node.schema if isinstance(node.schema, dict) else {}
