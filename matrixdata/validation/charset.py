"""Sets of Unicode code points as sorted ranges: what one step of a pattern accepts."""

from __future__ import annotations

from typing import TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Sorted, disjoint, inclusive (first, last) pairs of code points."""

LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)


def union(*sets: Ranges) -> Ranges:
    """The code points in any of `sets`."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(pair for ranges in sets for pair in ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def complement(ranges: Ranges) -> Ranges:
    """Every code point that is not in `ranges`."""
    out, start = [], 0
    for first, last in ranges:
        if first > start:
            out.append((start, first - 1))
        start = last + 1
    if start <= LAST:
        out.append((start, LAST))
    return tuple(out)


def contains(ranges: Ranges, point: int) -> bool:
    """Whether the code point `point` is in `ranges`."""
    return any(first <= point <= last for first, last in ranges)


def _of(text: str) -> Ranges:
    return union(*(((ord(c), ord(c)),) for c in text))


# ECMA-262, section 22.2.1 CharacterClassEscape without the i flag: \d and \w are ASCII, \s is WhiteSpace and
# LineTerminator, the dot is anything but a LineTerminator.
LINE_ENDS = _of("\n\r\u2028\u2029")
DIGIT: Ranges = ((0x30, 0x39),)
WORD = union(DIGIT, ((0x41, 0x5A),), ((0x61, 0x7A),), _of("_"))
SPACE = union(_of("\t\v\f \u00a0\u1680\u202f\u205f\u3000\ufeff"), LINE_ENDS, ((0x2000, 0x200A),))
DOT = complement(LINE_ENDS)
ESCAPES: dict[str, Ranges] = {
    "d": DIGIT,
    "D": complement(DIGIT),
    "w": WORD,
    "W": complement(WORD),
    "s": SPACE,
    "S": complement(SPACE),
}


def _point(point: int) -> str:
    if point < 0x20 or point == 0x7F:
        return f"\\x{point:02x}"
    char = chr(point)
    # Escaping every ASCII sign keeps clear of each engine's own meanings, such as `&&` inside a class.
    return char if char.isalnum() or point > 0x7F else "\\" + char


def spelled(ranges: Ranges) -> str:
    """The set as a character class that Rust's regex crate reads as we do."""
    parts = []
    for first, last in ranges:
        # No text holds a surrogate by itself, and Rust knows no such character.
        low = _SURROGATES[1] + 1 if _SURROGATES[0] <= first <= _SURROGATES[1] else first
        high = _SURROGATES[0] - 1 if _SURROGATES[0] <= last <= _SURROGATES[1] else last
        if low == high:
            parts.append(_point(low))
        elif low < high:
            parts.append(f"{_point(low)}-{_point(high)}")
    return f"[{''.join(parts)}]"
