"""When a result counts as complete."""

from __future__ import annotations

import pytest

from matrixdata.model.completeness import MENDING, Completeness


def test_a_copy_of_another_event_is_no_missing_row() -> None:
    assert Completeness(undecryptable=2, causes={"replayed": 2}).complete


@pytest.mark.parametrize("cause", sorted(MENDING.keys() - {"replayed"}))
def test_whatever_else_cannot_be_read_is_missing_and_says_what_mends_it(cause: str) -> None:
    found = Completeness(undecryptable=3, causes={"replayed": 2, cause: 1})
    assert not found.complete
    assert MENDING[cause] in str(found)
