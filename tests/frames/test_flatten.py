"""Nested records to columns and back, whatever their keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrixdata.frames import flatten as module
from matrixdata.frames.flatten import flatten, unflatten
from matrixdata.model.paths import format_path
from tests.frames.records import records, same, without_nulls


def rows_back(rows: list[dict]) -> list[dict]:
    flat = flatten(rows)
    return [
        unflatten(
            {
                format_path(path): cells[n]
                for path, cells in flat.cells.items()
                if path and cells[n] is not None
            }
        )
        for n in range(len(rows))
    ]


@given(st.lists(records, max_size=5))
def test_what_was_flattened_comes_back(rows: list[dict]) -> None:
    assert all(map(same, rows_back(rows), map(without_nulls, rows)))


@given(st.lists(records, min_size=1, max_size=5), st.data())
def test_a_record_flattens_the_same_alone_and_among_others(rows: list[dict], data: st.DataObject) -> None:
    n = data.draw(st.integers(0, len(rows) - 1))
    together = {
        path: cells[n] for path, cells in flatten(rows).cells.items() if path and cells[n] is not None
    }
    alone = {
        path: cells[0] for path, cells in flatten([rows[n]]).cells.items() if path and cells[0] is not None
    }

    assert together == alone


def test_twins_keep_apart() -> None:
    row = {"a.b": 1, "a": {"b": 2}, '"a"': {"b": 3}, "é": 4, "e\u0301": 5, "": {"": 6}}

    names = [format_path(path) for path in flatten([row]).cells]

    assert len(set(names)) == 6
    assert rows_back([row]) == [row]


def test_an_empty_object_is_not_lost() -> None:
    rows = [{"a": {}}, {"a": {"b": 1}}, {"a": 5}]

    assert flatten(rows).cells == {("a",): [{}, None, 5], ("a", "b"): [None, 1, None]}
    assert rows_back(rows) == rows


def test_a_hostile_record_cannot_open_thousands_of_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_COLUMNS", 10)
    rows = [{f"x{i}": i for i in range(100)} | {"in": {f"y{i}": i for i in range(100)}}]
    rows += [{"temp": 1, "hum": 2, "rare": 3}] * 3

    flat = flatten(rows, [("rare",)])

    assert len(flat.cells) <= 21
    assert {("temp",), ("hum",), ("rare",)} <= flat.cells.keys()
    assert flat.unopened
    cells = {path: column[0] for path, column in flat.cells.items() if column[0] is not None}
    rest = cells.pop(())
    assert unflatten({format_path(path): cell for path, cell in cells.items()}) | rest == rows[0]


def test_objects_nested_without_end_stay_whole_at_some_depth() -> None:
    deep: object = 1
    for _ in range(300):
        deep = {"a": deep}

    assert len(flatten([deep]).cells) == 1


@pytest.mark.parametrize("row", [{"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}, {"a": 1, '"a"': 2}])
def test_columns_that_contradict_each_other_are_refused(row: dict) -> None:
    with pytest.raises(ValueError, match="column"):
        unflatten(row)
