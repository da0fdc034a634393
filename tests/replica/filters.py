"""20,000 records, real and made up, and generated filters over them: what every engine is asked the same about."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from matrixdata.model.expression import matches
from matrixdata.model.where import parse_where

if TYPE_CHECKING:
    from matrixdata.model.expression import Expression

RECORDS, FILTERS = 20_000, 200
_NUMBERS: list[Any] = [
    0, 1, 2, -1, 21, 21.0, 0.1, -0.0, 0.1 + 0.2, 1e22, 1e308, -1.7e308, 5e-324, 2.5, -2.5,
    2**53 - 1, 2**53, 2**53 + 1, float(2**53), -(2**53) - 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), float(2**63),
]  # fmt: skip
_TEXTS = [
    "", "a", "A", "ab", "1", "21", "true", "null", "x\0y", "x", "x\0", "\0", "é", "e\u0301", "\uffff", "\U00010000",
    "\U0010ffff", "🌡", 'say "hi"', "a\\b", "line\nbreak", "'; DROP TABLE event; --", "%", "\x7f", "\u2028", "{}",
]  # fmt: skip
_KEYS = [
    "a", "b", "A", "n", "", "a.b", '"', 'q"q', "\\", "a\\b", "\0", "k\n", "0", "-", "[0]", "$", "*", "#", "é", "🌡",
    "/", "~", "~1", "__proto__", "'", "value", "x y", "\x7f",
]  # fmt: skip


def _scalar(draw: random.Random) -> Any:
    return draw.choice(
        [
            None,
            True,
            False,
            draw.choice(_NUMBERS),
            draw.choice(_NUMBERS),
            draw.choice(_TEXTS),
            draw.choice(_TEXTS),
        ]
    )


def _value(draw: random.Random, depth: int = 0) -> Any:
    shape = draw.random()
    if depth < 3 and shape < 0.3:
        return {draw.choice(_KEYS): _value(draw, depth + 1) for _ in range(draw.randrange(4))}
    if depth < 3 and shape < 0.4:
        return [_value(draw, depth + 1) for _ in range(draw.randrange(3))]
    return _scalar(draw)


def _made_up(draw: random.Random) -> Any:
    if draw.random() < 0.02:
        return _value(draw)
    record = {
        "n": draw.choice([*_NUMBERS, None, draw.randrange(100), draw.uniform(-5, 5)]),
        "t": draw.choice(_TEXTS),
    }
    record |= {draw.choice(_KEYS): _value(draw) for _ in range(draw.randrange(5))}
    return record if draw.random() < 0.9 else {"temp": draw.choice(_NUMBERS), "in": record}


@cache
def records() -> list[Any]:
    """The records, as reading them back from their stored texts gives them."""
    from vega_datasets import local_data

    draw = random.Random(20_260)
    weather = local_data.seattle_weather()
    weather["date"] = weather["date"].dt.strftime("%Y-%m-%d")
    temperatures = local_data.seattle_temps()
    temperatures["date"] = temperatures["date"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    real = [*weather.to_dict("records"), *temperatures.to_dict("records")]
    made_up = [_made_up(draw) for _ in range(RECORDS - len(real))]
    mixed = [*real, *made_up]
    draw.shuffle(mixed)
    return [msgspec.json.decode(text) for text in map(msgspec.json.encode, mixed)]


@cache
def texts() -> list[bytes]:
    """The records' texts, as the replica stores them."""
    return [msgspec.json.encode(record) for record in records()]


_REAL = [
    ("date", ["2012-01-01", "2010-06-01T00:00:00Z", "2013"]),
    ("temp", [40, 50.5, 60, 39.2]),
    ("temp_max", [10, 12.8, 5.6, 0.0]),
    ("precipitation", [0, 0.3, 10.9]),
    ("weather", ["sun", "rain", "snow", "Rain"]),
]


def _operand(draw: random.Random) -> Any:
    return draw.choice([draw.choice(_NUMBERS), draw.choice(_TEXTS), True, False, None])


def _test(draw: random.Random) -> dict[Any, Any]:
    """One path with one to two tests; operands and paths are often such as the records have."""
    if draw.random() < 0.25:
        key, operands = draw.choice(_REAL)
        path: tuple[str, ...] = (key,)
    else:
        first = draw.choice(["n", "n", "t", draw.choice(_KEYS), draw.choice(_KEYS)])
        path = (first, *(draw.choice(_KEYS) for _ in range(draw.choice([0, 0, 0, 1, 2]))))
        path = ("in", *path) if draw.random() < 0.1 else path
        operands = [_operand(draw) for _ in range(3)]
    tests: dict[str, Any] = {}
    for _ in range(draw.choice([1, 1, 1, 2])):
        op = draw.choice(["=", "=", "!=", "!=", ">", ">=", "<", "<=", "in", "not in", "exists"])
        operand = draw.choice(operands)
        if op == "exists":
            tests[op] = draw.random() < 0.5
        elif op in {"in", "not in"}:
            tests[op] = (
                [*operands, _operand(draw)] if draw.random() < 0.8 else [_operand(draw) for _ in range(10)]
            )
        elif op not in {"=", "!="} and (operand is None or isinstance(operand, bool)):
            tests[op] = draw.choice([*_NUMBERS, *_TEXTS])
        else:
            tests[op] = operand
    return {path: tests}


def _where(draw: random.Random, depth: int = 0) -> dict[Any, Any]:
    shape = draw.random()
    if depth > 1 or shape < 0.8:
        return _test(draw)
    if shape < 0.88:
        return {"$not": _where(draw, depth + 1)}
    return {draw.choice(["$and", "$or"]): [_where(draw, depth + 1) for _ in range(draw.choice([1, 2, 2]))]}


@cache
def filters() -> list[dict[Any, Any]]:
    """The filters, as users write them."""
    draw = random.Random(7)
    return [_where(draw) for _ in range(FILTERS)]


@cache
def expressions() -> list[Expression]:
    """The filters, parsed."""
    return [parse_where(where) for where in filters()]


@cache
def expected() -> list[frozenset[int]]:
    """The numbers of the records that each filter finds, by the plain-Python definition."""
    return [frozenset(i for i, r in enumerate(records()) if matches(e, r)) for e in expressions()]


def differences(found: dict[int, frozenset[int]]) -> list[str]:
    """What an engine found too much or too little, filter by filter; empty when it agrees."""
    report = []
    for number, rows in found.items():
        wrong = sorted(rows ^ expected()[number])
        if wrong:
            report.append(
                f"{filters()[number]}: {len(wrong)} rows, such as {json.dumps(records()[wrong[0]])[:300]}"
            )
    return report
