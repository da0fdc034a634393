"""Searches a text for a pattern in time linear in the text, whatever the pattern.

A Glushkov automaton run on the bits of one integer (Navarro and Raffinot, "New techniques for regular
expression searching", Algorithmica 41, 2005). Python's own `re` backtracks: `^(a+)+$` would hang it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import msgspec

from matrixdata.validation.charset import Ranges, contains
from matrixdata.validation.pattern import Branch, Chars, Node, PatternError, Repeat, Sequence, parse, spelled

MAX_JUMPS = 100
"""Most distinct sets of places that repetitions and alternatives can jump to: they bound the work a character."""
_MAX_KNOWN: Final = 4096


class _Part(msgspec.Struct, frozen=True):
    """A piece of the automaton: which places it starts and ends at, as bits, and whether it can be empty."""

    empty: bool
    first: int
    last: int


_NOTHING = _Part(empty=True, first=0, last=0)


@dataclass(slots=True)
class _Builder:
    """Gives each single-character step a place (a bit) and records which places can follow which."""

    sets: list[Ranges] = field(default_factory=list)
    follow: list[int] = field(default_factory=list)

    def link(self, last: int, first: int) -> None:
        while last:
            low = last & -last
            self.follow[low.bit_length() - 1] |= first
            last ^= low

    def build(self, node: Node) -> _Part:
        if isinstance(node, Chars):
            place = 1 << len(self.sets)
            self.sets.append(node.ranges)
            self.follow.append(0)
            return _Part(empty=False, first=place, last=place)
        if isinstance(node, Repeat):
            return self.repeat(node)
        parts = [self.build(item) for item in node.items]
        if isinstance(node, Sequence):
            whole = _NOTHING
            for part in parts:
                whole = self.join(whole, part)
            return whole
        first = last = 0
        for part in parts:
            first, last = first | part.first, last | part.last
        return _Part(any(part.empty for part in parts), first, last)

    def join(self, one: _Part, two: _Part) -> _Part:
        self.link(one.last, two.first)
        return _Part(
            empty=one.empty and two.empty,
            first=one.first | (two.first if one.empty else 0),
            last=two.last | (one.last if two.empty else 0),
        )

    def repeat(self, node: Repeat) -> _Part:
        if node.high == 0:
            return _NOTHING
        endless = node.high is None
        copies = [self.build(node.item) for _ in range(node.high or max(node.low, 1))]
        # When the item can be empty, the required copies can be too, so any number of copies will do.
        low = 0 if copies[0].empty else node.low
        last = 0
        for index, copy in enumerate(copies):
            if index:
                self.link(copies[index - 1].last, copy.first)
            if index + 1 >= low:
                last |= copy.last
        if endless:
            self.link(copies[-1].last, copies[-1].first)
        return _Part(low == 0, copies[0].first, last)


class Automaton:
    """One pattern, ready to search. Safe to share between threads; `text` is the pattern as written."""

    __slots__ = (
        "_always",
        "_anywhere",
        "_classes",
        "_empty",
        "_end",
        "_found",
        "_jumps",
        "_known",
        "_next",
        "_start",
        "branches",
        "text",
    )

    def __init__(self, text: str) -> None:
        self.text = text
        self.branches = parse(text)
        builder = _Builder()
        self._always = self._empty = False
        self._anywhere = self._start = self._found = self._end = 0
        for branch in self.branches:
            self._add(branch, builder.build(branch.body))
        self._next, self._jumps = _split(builder.follow)
        if len(self._jumps) > MAX_JUMPS:
            raise PatternError(
                f"the pattern is too tangled: more than {MAX_JUMPS} ways to jump; use fewer optional parts"
            )
        places: dict[Ranges, int] = {}
        for place, ranges in enumerate(builder.sets):
            places[ranges] = places.get(ranges, 0) | 1 << place
        self._classes = tuple(places.items())
        self._known: dict[str, int] = {}

    def _add(self, branch: Branch, part: _Part) -> None:
        if part.empty:
            if branch.at_start and branch.at_end:
                self._empty = True
            else:
                # The empty text is found at one end or the other of any text.
                self._always = True
        self._start |= part.first
        if not branch.at_start:
            self._anywhere |= part.first
        self._end |= part.last
        if not branch.at_end:
            self._found |= part.last

    def _places(self, char: str) -> int:
        places = 0
        for ranges, here in self._classes:
            if contains(ranges, ord(char)):
                places |= here
        if len(self._known) < _MAX_KNOWN:
            self._known[char] = places
        return places

    def search(self, text: str) -> bool:
        """Whether the pattern is found anywhere in `text`."""
        if self._always or (self._empty and not text):
            return True
        state, reachable = 0, self._start
        known, jumps, step, anywhere, found = (
            self._known,
            self._jumps,
            self._next,
            self._anywhere,
            self._found,
        )
        for char in text:
            places = known.get(char)
            if places is None:
                places = self._places(char)
            state = reachable & places
            if state & found:
                return True
            reachable = ((state & step) << 1) | anywhere
            if state:
                for members, targets in jumps:
                    if state & members:
                        reachable |= targets
            elif not anywhere:
                return False
        return bool(state & self._end)

    @property
    def portable(self) -> str:
        """The pattern spelled for Rust's regex crate."""
        return spelled(self.branches)


def _split(follow: list[int]) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Most places lead to the next one: those are one shift. The rest are jumps, grouped by target."""
    step, jumps = 0, dict[int, int]()
    for place, targets in enumerate(follow):
        following = 1 << (place + 1)
        if targets & following:
            step |= 1 << place
        if others := targets & ~following:
            jumps[others] = jumps.get(others, 0) | 1 << place
    return step, tuple((members, targets) for targets, members in jumps.items())


@lru_cache(maxsize=512)
def automaton(pattern: str) -> Automaton:
    """The automaton of a pattern, from a bounded cache. Raises PatternError as `parse` does."""
    return Automaton(pattern)
