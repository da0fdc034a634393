"""A schema that was accepted, ready to judge values. One verdict whichever engine answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Final

from matrixdata.errors import SchemaError
from matrixdata.model.json import pointer
from matrixdata.model.problem import Problem, shown
from matrixdata.validation import fast, reference
from matrixdata.validation.cost import excess
from matrixdata.validation.document import faults, is_json, plain
from matrixdata.validation.messages import message, rule
from matrixdata.validation.reading import parsed, schema_hash, written
from matrixdata.validation.shape import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from matrixdata.model.json import JSON
    from matrixdata.validation.reference import Judge
    from matrixdata.validation.shape import Node

    T = TypeVar("T")

MAX_PROBLEMS: Final = 100
"""Most problems reported for one value."""

# Rules that speak of an object's keys, and so hold whatever its members are.
_ABOUT_KEYS: Final = frozenset({"required", "dependentRequired", "minProperties", "maxProperties"})


class CompiledSchema:
    """A schema of the profile (docs/schema-profile.md), immutable and safe to share between threads.

    Attributes:
        text: the exact text carried on the wire, byte for byte as received or as first written.
        hash: "sha256:" and 64 hexadecimal digits over `text` in UTF-8; records name it.
        schema: the parsed text; do not change it.
    """

    __slots__ = ("_fast", "_nodes", "_reference", "hash", "schema", "text")

    def __init__(self, text: str) -> None:
        """Read and check a schema's text. Raises SchemaError with every problem."""
        self.text: Final = text
        self.schema: Final[JSON] = parsed(text)
        self.hash: Final = schema_hash(text)
        found = walk(self.schema)
        if found.problems:
            raise SchemaError(found.problems)
        if too_much := excess(found):
            raise SchemaError([Problem(*parts) for parts in too_much])
        self._nodes: Final[list[Node]] = found.nodes
        self._fast: Final = fast.build(found.nodes)
        self._reference: Judge | None = None

    def is_valid(self, value: object) -> bool:
        """Whether `value` is JSON and satisfies the schema; the same as `not problems(value)`, but quick."""
        try:
            # This is what every record passes, so it stands here without another call around it.
            if self._fast is not None and plain(value):
                return self._fast(value)
        except (ValueError, RecursionError):
            pass  # what the quick engine cannot take, or a full stack
        try:
            return self._verdict(value)
        except RecursionError:
            return _on_fresh_stack(lambda: self._verdict(value))

    def takes(self, value: object) -> bool:
        """As `is_valid`, of a value that `protocol.rules.is_plain` found plain; False says nothing."""
        try:
            return self._fast is not None and self._fast(value)
        except ValueError:
            return False

    def problems(self, value: object) -> list[Problem]:
        """Every reason why `value` is refused, at most MAX_PROBLEMS, each with its place; empty when valid.

        What is not JSON (NaN, half surrogates, foreign types, too deep) is told first; the rest of the value
        is still checked against the schema where it has a JSON form.
        """
        try:
            return self._problems(value)
        except RecursionError:
            return _on_fresh_stack(lambda: self._problems(value))

    def _verdict(self, value: object) -> bool:
        return is_json(value) and self._judge().is_valid(value)

    def _problems(self, value: object) -> list[Problem]:
        if self._fast is not None and self.is_valid(value):
            return []
        broken = faults(value, most=MAX_PROBLEMS)
        out = [problem for _, problem in broken]
        if len(out) == MAX_PROBLEMS or any(problem.rule in ("depth", "key", "unicode") for problem in out):
            # Such a value has no JSON form that the schema could be asked about.
            return out
        paths = {path for path, _ in broken}
        judged = _without(value, paths, ()) if paths else value
        out.extend(self._schema_problems(judged, paths))
        return out[:MAX_PROBLEMS]

    def _judge(self) -> Judge:
        # Two threads may both build it; either is right.
        if self._reference is None:
            self._reference = reference.build(self._nodes)
        return self._reference

    def _schema_problems(self, value: object, broken: set[tuple[str | int, ...]]) -> list[Problem]:
        out = []
        for error in islice(self._judge().iter_errors(value), MAX_PROBLEMS):
            path = tuple(error.absolute_path)
            holds_broken = any(bad[: len(path)] == path for bad in broken)
            if holds_broken and rule(error) not in _ABOUT_KEYS:
                continue  # it may come from the stand-in for what was no JSON
            out.append(Problem(pointer(path), rule(error), message(error), shown(error.instance)))
        return out

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CompiledSchema) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[type[CompiledSchema], tuple[str]]:
        return CompiledSchema, (self.text,)

    def __repr__(self) -> str:
        return f"CompiledSchema({self.hash[:19]}…, {len(self.text)} characters)"


def _without(value: object, broken: set[tuple[str | int, ...]], path: tuple[str | int, ...]) -> object:
    """A copy of `value` with null in the broken places."""
    if path in broken:
        return None
    if isinstance(value, dict):
        return {key: _without(item, broken, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_without(item, broken, (*path, index)) for index, item in enumerate(value)]
    return value


def _on_fresh_stack(work: Callable[[], T]) -> T:
    """Run `work` where the caller's stack leaves no room: a verdict may not depend on where its caller stands.

    cost.MAX_CHAIN keeps every evaluation within one stack of Python's default size.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="matrixdata-validation") as threads:
        return threads.submit(work).result()


def compile_schema(schema: Mapping[str, JSON] | bool | str) -> CompiledSchema:
    """Check a schema against the profile and make it ready.

    Args:
        schema: a mapping or boolean, or JSON text, which is kept byte for byte.

    Returns:
        The schema, with the text and hash that go on the wire.

    Raises:
        SchemaError: with every problem; pointers point into the schema, rules name the keyword or the limit.
    """
    return CompiledSchema(schema if isinstance(schema, str) else written(schema))


@lru_cache(maxsize=256)
def cached_schema(text: str) -> CompiledSchema | SchemaError:
    """As compile_schema for a text found in a room: a refusal is returned, not raised, and both are remembered.

    Bounded: the 256 most recent texts.
    """
    try:
        return CompiledSchema(text)
    except SchemaError as error:
        # A kept traceback would keep alive every local of whoever met the schema first.
        return error.with_traceback(None)
