"""docs/security.md names only tests that exist, and misses no row."""

from __future__ import annotations

import re

from tests.requirements import ROOT

TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists() -> None:
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", TEXT))

    assert len(named) > 40
    assert named - defined == set()


def test_no_row_is_missing_and_each_has_a_test() -> None:
    rows = [line.split("|")[1:-1] for line in TEXT.splitlines() if re.match(r"\| (?:B\d|T-)", line)]
    covered = {row for cells in rows for row in re.findall(r"T-[A-F]\d*|B\d+", cells[0])}

    assert covered >= {f"B{number}" for number in range(1, 25)}
    assert covered >= {
        *(f"T-A{number}" for number in range(1, 17)),
        *(f"T-B{number}" for number in (1, 2, 3, 5, 6, 7, 8, 9)),
        "T-C",
        "T-D",
        "T-E",
        "T-F",
    }
    assert [cells for cells in rows if "`test_" not in cells[3] and "the two above" not in cells[3]] == []
