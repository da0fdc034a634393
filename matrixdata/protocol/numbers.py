"""The record codec: floats and wide integers as decimal strings plus a short list of where they stand.

Matrix forbids both in event content. Pure; what it decodes was written by others and is hostile.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, TypeAlias

from matrixdata.errors import RecordInvalid, TooLarge
from matrixdata.model.json import pointer_token
from matrixdata.model.limits import MAX_DEPTH
from matrixdata.model.problem import Problem, shown
from matrixdata.protocol.canonical import MAX_CONTENT_BYTES
from matrixdata.protocol.rules import (
    SAFE_INTEGERS,
    WIDE_INTEGERS,
    Path,
    check,
    check_wire,
    pointer_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matrixdata.model.json import JSON

__all__ = ["MAX_DEPTH", "MAX_NUMBER_TEXT", "MAX_PATTERNS", "WireError", "check", "decode", "encode"]

MAX_PATTERNS = 10_000
"""Patterns that one record may carry; a whole event has room for fewer."""

MAX_NUMBER_TEXT = 64
"""Characters that a number's text may have; the shortest text of any double has at most 24."""

MAX_WIRE_PROBLEMS = 20
"""Problems that are listed of one event written by others."""

_EVERY, _ESCAPED_STAR = "*", "~2"
_HOLDS_NUMBER, _HOLDS_TEXT = 1, 2
_STEPS_EVERY, _STEPS_INDEX = 1, 2
_BOTH = 3

_PATTERN = re.compile(r"(?:/(?:[^~/]|~[012])*)*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_INDEX = re.compile(r"0|[1-9][0-9]*")


_Steps: TypeAlias = "tuple[_Steps, str] | None"
"""A pattern as (what comes before, its last token)."""


class WireError(ValueError):
    """Event content written by others that does not decode; its row becomes INVALID, nobody is raised at.

    Attributes:
        problems: the reasons, each with a JSON Pointer into the event's content (`/value/temp`, `/uid`).
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(map(_storable, problems[:MAX_WIRE_PROBLEMS]))
        super().__init__("; ".join(str(problem) for problem in self.problems))


def _storable(problem: Problem) -> Problem:
    # A pointer may lead through a key with a lone surrogate, and what is stored or printed must be UTF-8.
    pointer = problem.pointer.encode(errors="backslashreplace").decode()
    return Problem(pointer, problem.rule, problem.message, problem.value)


class _Place:
    """What stands at a place of a document, or at one place of several elements laid over one another."""

    __slots__ = ("below", "elements", "holds", "steps")

    def __init__(self, holds: int = 0, below: dict[str, _Place] | None = None) -> None:
        self.holds = holds
        self.below: dict[str, _Place] = {} if below is None else below
        self.steps = 0
        self.elements: list[_Place | None] | None = None

    def step(self, token: str) -> _Place | None:
        """The place below, made if new; None where `*` and an index would stand side by side."""
        place = self.below.get(token)
        if place is None:
            if token == _EVERY:
                self.steps |= _STEPS_EVERY
            elif _INDEX.fullmatch(token):
                self.steps |= _STEPS_INDEX
            if self.steps == _BOTH:
                return None
            place = self.below[token] = _Place()
        return place


# Shared, and never changed: laying over copies into fresh places.
_A_NUMBER, _A_TEXT = _Place(_HOLDS_NUMBER), _Place(_HOLDS_TEXT)


def encode(value: JSON) -> tuple[JSON, list[str]]:
    """Make a value fit for Matrix event content.

    Floats become their shortest text that reads back equal ("21.5", "21.0", "-0.0", "1e+300"), integers
    outside ±(2^53-1) their decimal digits; all else stays. The input is not changed.

    Args:
        value: any JSON value that `check` finds nothing wrong with.

    Returns:
        The value without floats and wide integers, and the sorted patterns of where they stood: JSON
        Pointers in which `*` stands for every element of an array. No pattern covers a string of the input.

    Raises:
        RecordInvalid: with every problem of `check`.
        TooLarge: the patterns alone would not fit in an event.
    """
    problems = check(value)
    if problems:
        raise RecordInvalid(problems)
    encoded, place = _encode(value)
    patterns = sorted(_patterns(place)) if place is not None else []
    return encoded, patterns


def _encode(value: JSON) -> tuple[JSON, _Place | None]:
    # Recursion is bounded here and below: `check` refused what is nested deeper than MAX_DEPTH, and every
    # type but JSON's own, so that the cheapest test of a type is right.
    kind = type(value)
    if kind is str:
        return value, _A_TEXT
    if kind is float:
        return repr(value), _A_NUMBER
    if isinstance(value, dict):
        return _encode_object(value)
    if isinstance(value, list):
        return _encode_array(value)
    if kind is int and value not in SAFE_INTEGERS:
        return str(value), _A_NUMBER
    return value, None


def _encode_object(value: dict[str, JSON]) -> tuple[JSON, _Place | None]:
    encoded: dict[str, JSON] = {}
    below: dict[str, _Place] = {}
    for key, item in value.items():
        encoded[key], place = _encode(item)
        if place is not None:
            below[_token(key)] = place
    return encoded, _Place(0, below) if below else None


def _encode_array(value: list[JSON]) -> tuple[JSON, _Place | None]:
    encoded: list[JSON] = []
    places: list[_Place | None] = []
    for item in value:
        element, place = _encode(item)
        encoded.append(element)
        places.append(place)
    every = _one_for_all(places) or _one_for_all([_apart(place) for place in places])
    if every is None:
        return encoded, _apart_of(places)
    if not every.holds and not every.below:
        return encoded, None
    array = _Place(0, {_EVERY: every})
    array.elements = places
    return encoded, array


def _one_for_all(places: list[_Place | None]) -> _Place | None:
    """The elements of an array laid over one another; None where a pattern for all would cover a string."""
    every = _Place()
    if all(_lay_over(every, place) for place in places if place is not None):
        return every
    return None


def _apart(place: _Place | None) -> _Place | None:
    """An array with a place for each index, so that a row [text, number] fits over a row [null, number]."""
    return place if place is None or place.elements is None else _apart_of(place.elements)


def _apart_of(places: list[_Place | None]) -> _Place:
    return _Place(0, {str(index): place for index, place in enumerate(places) if place is not None})


def _lay_over(ground: _Place, place: _Place) -> bool:
    """Add one element's places to those of its siblings; False where a number would cover a string."""
    ground.holds |= place.holds
    if ground.holds == _BOTH:
        return False
    for token, below in place.below.items():
        step = ground.step(token)
        if step is None or not _lay_over(step, below):
            return False
    return True


def _token(key: str) -> str:
    if key == _EVERY:
        return _ESCAPED_STAR
    return pointer_token(key) if "~" in key or "/" in key else key


def _patterns(root: _Place) -> Iterator[str]:
    waiting: list[tuple[_Place, _Steps]] = [(root, None)]
    size = 0
    while waiting:
        place, steps = waiting.pop()
        if place.holds & _HOLDS_NUMBER:
            pattern = _written(steps)
            # A long key above many numbers would unfold far beyond what any event holds.
            size += len(pattern) + 3
            if size > MAX_CONTENT_BYTES:
                raise TooLarge(size, MAX_CONTENT_BYTES)
            yield pattern
        for token, below in place.below.items():
            if below.holds == _HOLDS_NUMBER or below.below:
                waiting.append((below, (steps, token)))


def _written(steps: _Steps) -> str:
    tokens: list[str] = []
    while steps is not None:
        steps, token = steps
        tokens.append(f"/{token}")
    return "".join(reversed(tokens))


def decode(value: JSON, numbers: object) -> JSON:
    """Read a value back from event content: the inverse of `encode`, bit for bit.

    Args:
        value: the encoded value, written by others. Not changed; parts without numbers may be shared with
            the result.
        numbers: the patterns; anything but a list of patterns is refused.

    Returns:
        The value, of which `check` finds nothing wrong.

    Raises:
        WireError: the value breaks a rule of the wire (depth, floats, wide integers, lone surrogates), a
            pattern is malformed, or a string at a place that a pattern covers is no number. Pointers lead
            into the event's content, thus begin with `/value` or `/numbers`.
    """
    problems = [_below("/value", problem) for problem in check_wire(value, most=MAX_WIRE_PROBLEMS)]
    root = _read_patterns(numbers, problems)
    if not problems:
        value = _decode(value, root, (None, "value"), problems)
    if problems:
        raise WireError(problems)
    return value


def _below(prefix: str, problem: Problem) -> Problem:
    return Problem(prefix + problem.pointer, problem.rule, problem.message, problem.value)


def _read_patterns(numbers: object, problems: list[Problem]) -> _Place:
    root = _Place()
    if not isinstance(numbers, list):
        problems.append(Problem("/numbers", "pattern", "must be a list of patterns", shown(numbers)))
        return root
    if len(numbers) > MAX_PATTERNS:
        problems.append(Problem("/numbers", "pattern", f"more than {MAX_PATTERNS:,} patterns"))
        return root
    for index, pattern in enumerate(numbers):
        reason = _add_pattern(root, pattern)
        if reason:
            problems.append(Problem(f"/numbers/{index}", "pattern", reason, shown(pattern)))
            if len(problems) >= MAX_WIRE_PROBLEMS:
                break
    return root


def _add_pattern(root: _Place, pattern: object) -> str:
    if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern):
        return "not a JSON Pointer with the escapes ~0, ~1 and ~2"
    place = root
    for token in pattern.split("/")[1:]:
        # Within a longer key a star may be escaped or not; we compare tokens in one form.
        step = place.step(token if token == _ESCAPED_STAR else token.replace(_ESCAPED_STAR, _EVERY))
        if step is None:
            return "an index and * stand at the same place of two patterns"
        place = step
    place.holds = _HOLDS_NUMBER
    return ""


def _decode(value: JSON, place: _Place, path: Path, problems: list[Problem]) -> JSON:
    if isinstance(value, str):
        return _decode_number(value, path, problems) if place.holds else value
    if not place.below:
        return value
    if isinstance(value, dict):
        return {
            key: item
            if (below := place.below.get(_token(key))) is None
            else _decode(item, below, (path, key), problems)
            for key, item in value.items()
        }
    if isinstance(value, list):
        every = place.below.get(_EVERY)
        return [
            item
            if (below := every or place.below.get(str(index))) is None
            else _decode(item, below, (path, index), problems)
            for index, item in enumerate(value)
        ]
    return value


def _decode_number(text: str, path: Path, problems: list[Problem]) -> JSON:
    number = _read_number(text)
    if number is not None:
        return number
    if len(problems) < MAX_WIRE_PROBLEMS:
        message = "not the text of a finite double or a 64-bit integer, which stands here by /numbers"
        problems.append(Problem(pointer_of(path), "number", message, shown(text)))
    return text


def _read_number(text: str) -> int | float | None:
    """A number from its text in the grammar of JSON (RFC 8259 section 6); None for anything else."""
    if len(text) > MAX_NUMBER_TEXT:
        return None
    shape = _NUMBER.fullmatch(text)
    if shape is None:
        return None
    if shape.lastindex is None:
        whole = int(text)
        return whole if whole in WIDE_INTEGERS else None
    number = float(text)
    return number if math.isfinite(number) else None
