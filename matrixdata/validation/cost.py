"""Bounds what a schema can cost, from its graph alone: loops, work per place of a record, nesting.

Both engines follow every alternative, so a schema of 20 lines can ask for 2^20 evaluations of one value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matrixdata.model.limits import MAX_DEPTH

if TYPE_CHECKING:
    from matrixdata.validation.shape import Walk

MAX_WORK: Final = 256
"""Most evaluations of subschemas that any one place in a record can meet."""
MAX_CHAIN: Final = 256
"""Deepest nesting of evaluations in each other, for a record of the greatest depth; Python's stack ends near 1000."""

_SAME_PLACE: Final = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")


class _Edges:
    """The subschemas a node hands a value on to, by what part of the value they see."""

    __slots__ = ("additional", "contains", "items", "named", "names", "patterns", "prefix", "same")

    def __init__(self, walk: Walk, number: int) -> None:
        node = walk.nodes[number]

        def of(*keywords: str) -> list[int]:
            return [child for keyword in keywords for _, child in node.children.get(keyword, ())]

        self.same = of(*_SAME_PLACE) + ([node.target] if node.target >= 0 else [])
        self.named, self.patterns = of("properties"), of("patternProperties")
        self.additional, self.names = of("additionalProperties"), of("propertyNames")
        self.prefix, self.items, self.contains = of("prefixItems"), of("items"), of("contains")

    @property
    def below(self) -> list[int]:
        return [
            *self.named, *self.patterns, *self.additional, *self.names,
            *self.prefix, *self.items, *self.contains,
        ]  # fmt: skip


def _most(numbers: list[int], cost: list[int]) -> int:
    return max((cost[number] for number in numbers), default=0)


def _total(numbers: list[int], cost: list[int]) -> int:
    return sum(cost[number] for number in numbers)


def _order(edges: list[_Edges]) -> tuple[list[int], set[int]]:
    """Node numbers, each after those it hands the same value to; and the nodes that are in or above a loop."""
    waiting = [len(edge.same) for edge in edges]
    users: list[list[int]] = [[] for _ in edges]
    for number, edge in enumerate(edges):
        for child in edge.same:
            users[child].append(number)
    ready = [number for number, count in enumerate(waiting) if not count]
    order = []
    while ready:
        number = ready.pop()
        order.append(number)
        for user in users[number]:
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    return order, set(range(len(edges))) - set(order)


def _work(edges: list[_Edges], order: list[int]) -> int:
    """Upper bound of evaluations at one place of a record, over all depths.

    For each depth d: the evaluations d levels below a place where a node is evaluated once. A place below
    is reached either as a member or as an item, and by one name only, hence the maxima.
    """
    size = len(edges)
    cost = [0] * size
    for number in order:
        cost[number] = 1 + _total(edges[number].same, cost)
    worst = cost[0]
    for _ in range(MAX_DEPTH):
        members, items = [0] * size, [0] * size
        for number in order:
            edge = edges[number]
            member = max(
                _most(edge.named, cost) + _total(edge.patterns, cost),
                _total(edge.additional, cost),
                _total(edge.names, cost),
            )
            item = max(_most(edge.prefix, cost), _total(edge.items, cost)) + _total(edge.contains, cost)
            # Beyond the limit the exact figure does not matter, and doubling ones must stay small.
            members[number] = min(member + _total(edge.same, members), 10 * MAX_WORK)
            items[number] = min(item + _total(edge.same, items), 10 * MAX_WORK)
        cost = [max(pair) for pair in zip(members, items, strict=True)]
        worst = max(worst, cost[0])
        if worst > MAX_WORK or not any(cost):
            break
    return worst


def _chain(edges: list[_Edges], order: list[int]) -> int:
    """The deepest nesting of evaluations for a record of the greatest depth."""
    before = [0] * len(edges)
    for _ in range(MAX_DEPTH + 1):
        now = [0] * len(edges)
        for number in order:
            edge = edges[number]
            now[number] = 1 + max(_most(edge.same, now), _most(edge.below, before))
        if now == before:
            break
        before = now
    return before[0]


def excess(walk: Walk) -> list[tuple[str, str, str]]:
    """What is too much in a schema, as (pointer, rule, message). Takes at most some 100 ms for 48 KiB."""
    edges = [_Edges(walk, number) for number in range(len(walk.nodes))]
    order, loops = _order(edges)
    if loops:
        return [
            (
                f"{walk.nodes[number].pointer}/$ref",
                "$ref",
                "this leads back to itself without going into the value, so it would never end; "
                "refer to it from inside properties or items",
            )
            for number in sorted(loops)
            if walk.nodes[number].target in loops
        ][:20]
    if _work(edges, order) > MAX_WORK:
        return [
            (
                "",
                "work",
                f"one value could have to be checked more than {MAX_WORK} times, because alternatives "
                "multiply (allOf, anyOf, oneOf, if or patternProperties inside a $ref that is used several "
                "times, or in a recursion); list the alternatives once, at the top",
            )
        ]
    if _chain(edges, order) > MAX_CHAIN:
        return [("", "nesting", f"more than {MAX_CHAIN} checks could nest in each other; flatten the schema")]
    return []
