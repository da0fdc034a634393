from __future__ import annotations

import subprocess
import sys

import pytest

from matrixdata import validate
from matrixdata.errors import SchemaError
from matrixdata.validation import compile_schema

SCHEMA = {
    "type": "object",
    "properties": {"device": {"type": "string"}, "temp": {"type": "number"}, "n": {"type": "integer"}},
    "required": ["device"],
    "additionalProperties": False,
}


def test_all_valid_is_true():
    report = validate([{"device": "d1", "temp": 21.5}], SCHEMA)
    assert report
    assert (report.ok, report.checked, report.rejected) == (True, 1, ())
    assert repr(report) == "<ValidationReport: 1 record checked, all valid>"


def test_rejected_records_are_numbered_with_all_their_problems():
    report = validate(({"device": n, "x": 1} if n % 2 else {"device": "d"} for n in range(4)), SCHEMA)
    assert not report
    assert (report.checked, [rejected.row for rejected in report.rejected]) == (4, [1, 3])
    assert [problem.pointer for problem in report.rejected[0].problems] == ["/device", "/x"]
    assert "row 3 /device: must be text, not a number [type]" in str(report)


def test_a_long_report_is_cut_and_says_so():
    report = validate([{}] * 1000, SCHEMA)
    assert len(report.rejected) == 1000
    assert "and 980 more" in str(report)
    assert "and 980 more" in report._repr_html_()


def test_what_a_record_holds_cannot_become_html_or_terminal_codes():
    report = validate([{"<script>alert(1)</script>": "\x1b[31m<b>"}], SCHEMA)
    assert "<script>" not in report._repr_html_()
    assert "<b>" not in report._repr_html_()
    assert "\x1b" not in str(report) + report._repr_html_()


def test_a_frame_is_checked_row_by_row():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"device": ["d1", "d2", None], "temp": [1.5, None, 3], "n": pandas.array([1, None, 3])}
    )
    report = validate(frame, SCHEMA)
    assert report.checked == 3
    assert [(rejected.row, rejected.problems[0].rule) for rejected in report.rejected] == [(2, "required")]


def test_a_frames_times_and_lists_are_json():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"ts": pandas.to_datetime(["2026-01-01T00:00:00Z"]), "tags": [["a"]]})
    assert validate(
        frame, {"properties": {"ts": {"const": "2026-01-01T00:00:00Z"}, "tags": {"const": ["a"]}}}
    )


def test_a_compiled_schema_and_text_serve_too():
    assert validate([1], compile_schema({"type": "integer"}))
    assert not validate([1], '{"type": "string"}')


def test_a_single_record_is_a_mistake():
    with pytest.raises(TypeError, match="put the one in a list"):
        validate({"device": "d1"}, SCHEMA)


def test_the_schema_is_checked_first():
    with pytest.raises(SchemaError):
        validate([], {"$ref": "http://127.0.0.1:9/"})


def test_pandas_is_not_needed():
    code = (
        "import sys; sys.modules['pandas'] = sys.modules['numpy'] = None\n"
        "from matrixdata import validate\n"
        "assert validate([{'a': 1}], {'type': 'object'})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
