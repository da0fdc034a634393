"""Whether a Python value is JSON at all: what no schema can judge. Must not know any schema."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast

from matrixdata.model.json import pointer
from matrixdata.model.limits import MAX_DEPTH
from matrixdata.model.problem import Problem, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matrixdata.model.json import JSON

_LEAST: Final = -(1 << 63)
_BEYOND: Final = 1 << 63


# One flat loop without calls, because every record passes it.
def plain(value: object, room: int = MAX_DEPTH) -> bool:  # noqa: C901, PLR0911, PLR0912  see above
    """True when `value` may be handed to the fast engine.

    That is: exact JSON types, whole characters, finite numbers, integers of 64 bit with sign, and at most
    `room` levels. False means only: let the reference judge.
    """
    kind: type[object] = type(value)
    members: Iterable[Any]
    if kind is dict:
        try:
            # One call for all keys: it refuses what is not text, and ASCII is told in constant time.
            keys = "".join(cast("dict[str, Any]", value))
        except TypeError:
            return False
        if room <= 0 or (not keys.isascii() and _broken(keys)):
            return False
        members = cast("dict[str, Any]", value).values()
    elif kind is list:
        if room <= 0:
            return False
        members = cast("list[Any]", value)
    else:
        members = cast("tuple[Any]", (value,))
    for member in members:
        kind = type(member)
        if kind is float:
            if member - member != 0.0:
                return False
        elif kind is str:
            if not member.isascii() and _broken(member):
                return False
        elif kind is int:
            if not _LEAST <= member < _BEYOND:
                return False
        elif kind is dict or kind is list:
            if not plain(member, room - 1):
                return False
        elif member is not None and kind is not bool:
            return False
    return True


def is_json(value: object) -> TypeGuard[JSON]:
    """True when `faults` would find nothing."""
    return not faults(value, most=1)


@dataclass(slots=True)
class _Search:
    most: int
    found: list[tuple[tuple[str | int, ...], Problem]]

    def add(self, path: tuple[str | int, ...], rule: str, message: str, value: object) -> None:
        self.found.append((path, Problem(pointer(path), rule, message, shown(value))))

    @property
    def full(self) -> bool:
        return len(self.found) >= self.most

    def visit(self, value: object, path: tuple[str | int, ...]) -> None:
        if isinstance(value, (dict, list)):
            if len(path) >= MAX_DEPTH:
                self.add(path, "depth", f"nested deeper than {MAX_DEPTH} levels; flatten the document", "…")
            elif isinstance(value, dict):
                self._members(value, path)
            else:
                for index, item in enumerate(value):
                    if self.full:
                        return
                    self.visit(item, (*path, index))
        else:
            self._scalar(value, path)

    def _members(self, value: dict[object, object], path: tuple[str | int, ...]) -> None:
        for key, item in value.items():
            if self.full:
                return
            if not isinstance(key, str):
                self.add(path, "key", "JSON has only text as keys; write this one in quotes", key)
                continue
            if _broken(key):
                # The pointer itself must be printable text, so it ends at the object.
                self.add(path, "unicode", "a key holds half of a surrogate pair, which is no character", key)
                continue
            self.visit(item, (*path, key))

    def _scalar(self, value: object, path: tuple[str | int, ...]) -> None:
        if isinstance(value, str):
            if _broken(value):
                self.add(
                    path, "unicode", "the text holds half of a surrogate pair, which is no character", value
                )
        elif isinstance(value, float):
            if not isfinite(value):
                self.add(
                    path, "finite", "JSON has no NaN and no infinity; leave the key out or write null", value
                )
        elif value is not None and not isinstance(value, int):
            kind = type(value).__name__
            self.add(path, "type", f"a Python {kind} is not JSON; convert it first{_advice(value)}", value)


def _advice(value: object) -> str:
    if isinstance(value, (tuple, set, frozenset)):
        return ", with list(...)"
    if hasattr(value, "isoformat"):
        return ", with .isoformat()"
    if hasattr(value, "item"):
        return ", with .item()"
    return ""


def _broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def faults(value: object, *, most: int = 100) -> list[tuple[tuple[str | int, ...], Problem]]:
    """Every reason why `value` is not JSON, at most `most`, each with its path.

    Rules: "finite", "unicode", "key", "type", "depth". Depth first and bounded, so that a list which contains
    itself ends too. How wide an integer may be is the wire's rule, not this one.
    """
    search = _Search(most, [])
    search.visit(value, ())
    return search.found
