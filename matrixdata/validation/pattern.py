"""The regular expressions of the profile: the part of ECMA-262 that can be matched in linear time.

Parses a pattern into a small tree and says by name what is outside. Does not match: see automaton.py.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from matrixdata.validation import charset
from matrixdata.validation.charset import Ranges

MAX_PATTERN = 512
"""Longest pattern, in characters."""
MAX_STEPS = 1024
"""Most single-character steps once every `{n,m}` is written out."""
_MAX_GROUPS = 20
_SYNTAX = frozenset("^$\\.*+?()[]{}|/")


class PatternError(ValueError):
    """The pattern is outside the profile; the message says what and what to write instead."""


class Chars(msgspec.Struct, frozen=True):
    """One character out of a set."""

    ranges: Ranges


class Sequence(msgspec.Struct, frozen=True):
    """One after the other; empty matches the empty text."""

    items: tuple[Node, ...]


class Choice(msgspec.Struct, frozen=True):
    """Any one of several."""

    items: tuple[Node, ...]


class Repeat(msgspec.Struct, frozen=True):
    """`low` to `high` times; `high` None is without end."""

    item: Node
    low: int
    high: int | None


Node: TypeAlias = "Chars | Sequence | Choice | Repeat"


class Branch(msgspec.Struct, frozen=True):
    """One alternative of the whole pattern, and whether `^` and `$` tie it to the ends of the text."""

    at_start: bool
    body: Node
    at_end: bool


def steps(node: Node) -> int:
    """How many single-character steps a tree has when its repetitions are written out."""
    if isinstance(node, Chars):
        return 1
    if isinstance(node, Repeat):
        return steps(node.item) * max(node.low, node.high or 1, 1)
    return sum(map(steps, node.items))


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

    def peek(self, ahead: int = 0) -> str:
        where = self.at + ahead
        return self.text[where] if where < len(self.text) else ""

    def take(self, expected: str = "") -> str:
        char = self.peek()
        if not char or (expected and char != expected):
            wanted = repr(expected) if expected else "more"
            raise PatternError(f"the pattern is not closed: {wanted} is missing at character {self.at + 1}")
        self.at += 1
        return char

    def fail(self, what: str) -> PatternError:
        return PatternError(f"{what} (character {self.at + 1} of the pattern)")

    # The whole pattern: alternatives that may be anchored.

    def branches(self) -> tuple[Branch, ...]:
        out = [self.branch()]
        while self.peek() == "|":
            self.take()
            out.append(self.branch())
        if self.peek():
            raise self.fail(f"{self.peek()!r} has no partner; write it as '\\{self.peek()}'")
        return tuple(out)

    def branch(self) -> Branch:
        at_start = self.skip("^")
        body = self.sequence()
        return Branch(at_start, body, self.skip("$"))

    def skip(self, char: str) -> bool:
        found = self.peek() == char
        while self.peek() == char:
            self.take()
        return found

    def sequence(self) -> Node:
        items = []
        while (char := self.peek()) and char not in "|)":
            if char == "$" and self.peek(1) in ("", "|", "$") and self.depth == 0:
                break
            items.append(self.repeated(self.atom()))
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def choice(self) -> Node:
        items = [self.sequence()]
        while self.peek() == "|":
            self.take()
            items.append(self.sequence())
        if all(isinstance(item, Chars) for item in items):
            # (?:a|b) is [ab]: one step instead of several.
            return Chars(charset.union(*(item.ranges for item in items if isinstance(item, Chars))))
        return Choice(tuple(items))

    # Repetition.

    def repeated(self, item: Node) -> Node:
        char = self.peek()
        if char == "{":
            low, high = self.bounds()
        elif char and char in "*+?":
            self.take()
            low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        else:
            return item
        self.skip_lazy()
        repeat = Repeat(item, low, high)
        if steps(repeat) > MAX_STEPS:
            raise self.fail(
                f"repetitions written out give more than {MAX_STEPS} steps; "
                "use maxLength, or smaller numbers in {…}"
            )
        return repeat

    def skip_lazy(self) -> None:
        # A lazy `?` changes which text is found first, never whether there is one.
        if self.peek() == "?":
            self.take()
        if self.peek() and self.peek() in "*+?{":
            raise self.fail("a repetition cannot be repeated; put it in (?:…)")

    def bounds(self) -> tuple[int, int | None]:
        self.take("{")
        low = self.number()
        high: int | None = low
        if self.peek() == ",":
            self.take()
            high = None if self.peek() == "}" else self.number()
        self.take("}")
        if high is not None and high < low:
            raise self.fail("the numbers in {…} are out of order")
        return low, high

    def number(self) -> int:
        digits = ""
        while self.peek() and self.peek() in "0123456789":
            digits += self.take()
        if not digits:
            raise self.fail("'{' starts a repetition such as {2,5}; write '\\{' for the sign itself")
        if len(digits) > 4 or int(digits) > MAX_STEPS:
            raise self.fail(f"a repetition of more than {MAX_STEPS}; use minLength or maxLength")
        return int(digits)

    # Single characters, classes, groups.

    def atom(self) -> Node:
        char = self.take()
        if char == "(":
            return self.group()
        if char == "[":
            return Chars(self.char_class())
        if char == ".":
            return Chars(charset.DOT)
        if char == "\\":
            return Chars(self.escape(in_class=False))
        if char in "^$":
            self.at -= 1
            raise self.fail(
                f"{char!r} may only stand at the {'start' if char == '^' else 'end'} of the pattern "
                "or of one of its outermost alternatives"
            )
        if char in _SYNTAX - {"/"}:
            self.at -= 1
            raise self.fail(f"{char!r} has nothing to act on; write '\\{char}' for the sign itself")
        return Chars(((ord(char), ord(char)),))

    def group(self) -> Node:
        if self.peek() == "?":
            self.group_kind()
        self.depth += 1
        if self.depth > _MAX_GROUPS:
            raise self.fail(f"groups are nested deeper than {_MAX_GROUPS}")
        body = self.choice()
        self.take(")")
        self.depth -= 1
        return body

    def group_kind(self) -> None:
        rest = self.text[self.at : self.at + 3]
        if rest.startswith("?:"):
            self.at += 2
        elif rest.startswith(("?=", "?!", "?<=", "?<!")):
            raise self.fail("look-around is outside the profile; combine two patterns with allOf or not")
        elif rest.startswith("?<"):
            raise self.fail("named groups are outside the profile; write (…)")
        else:
            raise self.fail("'(?' is outside the profile except as '(?:'")

    def char_class(self) -> Ranges:
        negated = self.peek() == "^"
        if negated:
            self.take()
        sets: list[Ranges] = []
        while self.peek() != "]":
            sets.append(self.class_item())
        self.take("]")
        ranges = charset.union(*sets)
        if negated:
            ranges = charset.complement(ranges)
        if not ranges or not sets:
            raise self.fail("an empty character class is outside the profile")
        return ranges

    def class_item(self) -> Ranges:
        first = self.class_char()
        if self.peek() != "-" or self.peek(1) in ("]", ""):
            return first
        self.take("-")
        last = self.class_char()
        if first[0][0] != first[-1][1] or last[0][0] != last[-1][1]:
            raise self.fail("a range needs single characters at both ends; write '\\-' for the sign itself")
        if first[0][0] > last[0][0]:
            raise self.fail("a range in [...] is out of order")
        return ((first[0][0], last[0][0]),)

    def class_char(self) -> Ranges:
        char = self.take()
        if char == "\\":
            return self.escape(in_class=True)
        if char == "[":
            raise self.fail("write '\\[' inside [...]")
        return ((ord(char), ord(char)),)

    def escape(self, *, in_class: bool) -> Ranges:
        char = self.take()
        if char in charset.ESCAPES:
            return charset.ESCAPES[char]
        point = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}.get(char)
        if char == "x":
            point = self.hexadecimal(2)
        elif char == "u":
            point = self.unicode()
        elif char in _SYNTAX or (char == "-" and in_class):
            point = ord(char)
        if point is None:
            raise self.fail(_UNKNOWN_ESCAPES.get(char, f"'\\{char}' is outside the profile"))
        return ((point, point),)

    def unicode(self) -> int:
        if self.peek() == "{":
            self.take()
            end = self.text.find("}", self.at)
            point = self.hexadecimal(max(end - self.at, 0))
            self.take("}")
        else:
            point = self.hexadecimal(4)
            if 0xD800 <= point <= 0xDBFF and self.text.startswith("\\u", self.at):
                self.at += 2
                low = self.hexadecimal(4)
                if not 0xDC00 <= low <= 0xDFFF:
                    raise self.fail("half of a surrogate pair is no character")
                return 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00)
        if point > charset.LAST or 0xD800 <= point <= 0xDFFF:
            raise self.fail("this is no Unicode character")
        return point

    def hexadecimal(self, count: int) -> int:
        digits = self.text[self.at : self.at + count]
        if not 1 <= len(digits) <= 8 or len(digits) != count or set(digits) - set("0123456789abcdefABCDEF"):
            raise self.fail("hexadecimal digits are missing after '\\x' or '\\u'")
        self.at += count
        return int(digits, 16)


_UNKNOWN_ESCAPES = {
    "b": "'\\b' is outside the profile; spell out the characters on both sides, such as (?:^|[^A-Za-z]) …",
    "B": "'\\B' is outside the profile",
    "p": "'\\p{…}' is outside the profile: its meaning changes with Unicode versions; list ranges in [...]",
    "P": "'\\P{…}' is outside the profile: its meaning changes with Unicode versions; list ranges in [^...]",
    "k": "back-references are outside the profile",
    "c": "'\\c' is outside the profile; write the control character as \\x01 … \\x1f",
    "A": "'\\A' is Python's; JSON Schema writes '^'",
    "Z": "'\\Z' is Python's; JSON Schema writes '$'",
    "z": "'\\z' is Perl's; JSON Schema writes '$'",
    "-": "'\\-' is only needed inside [...]; write '-'",
    **dict.fromkeys("0123456789", "back-references and octal escapes are outside the profile"),
}


def parse(pattern: str) -> tuple[Branch, ...]:
    """The tree of a pattern.

    Patterns follow ECMA-262 with the u flag, as JSON Schema 2020-12 core section 6.4 recommends, and are
    searched for anywhere in the text. Raises PatternError for what the profile leaves out.
    """
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"the pattern has {len(pattern)} characters; at most {MAX_PATTERN} are allowed")
    branches = _Parser(pattern).branches()
    if sum(steps(branch.body) for branch in branches) > MAX_STEPS:
        raise PatternError(
            f"the pattern has more than {MAX_STEPS} steps once its repetitions are written out"
        )
    return branches


def _spelled(node: Node) -> str:
    if isinstance(node, Chars):
        return charset.spelled(node.ranges)
    if isinstance(node, Sequence):
        return "".join(map(_spelled, node.items))
    if isinstance(node, Choice):
        return f"(?:{'|'.join(map(_spelled, node.items))})"
    high = "" if node.high is None else node.high
    return f"(?:{_spelled(node.item)}){{{node.low},{high}}}"


def spelled(branches: tuple[Branch, ...]) -> str:
    """The same pattern in the dialect of Rust's regex crate, free of every construct that dialects read differently."""
    return "|".join(
        f"(?:{'^' * branch.at_start}{_spelled(branch.body)}{'$' * branch.at_end})" for branch in branches
    )
