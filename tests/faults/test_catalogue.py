"""The fault tests say which row they prove and how they were seen to fail; the documentation names them all."""

from __future__ import annotations

import re

import pytest

from tests.faults.broken import collected
from tests.faults.harness import ROOT

FAULTS = collected()
DOCS = ("docs/reliability.md", "docs/security.md")


@pytest.mark.parametrize("test", FAULTS)
def test_every_break_still_fits_the_code(test):
    for edit in FAULTS[test].breaks:
        source = (ROOT / edit.file).read_text(encoding="utf-8")
        assert edit.applied(source) != source


def test_the_documents_name_every_fault_test_and_no_other():
    written = "".join((ROOT / doc).read_text(encoding="utf-8") for doc in DOCS if (ROOT / doc).exists())
    named = set(re.findall(r"`(test_\w+)`", written))
    known = {test.rpartition("::")[2] for test in FAULTS}
    assert known - named == set(), "fault tests that docs/reliability.md or docs/security.md does not name"
