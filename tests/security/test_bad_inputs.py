"""Bad input of our own: refused here with its place, before anything is queued, or carried without a change.

Each row is the one of that name in docs/security.md. The server never sees what is refused.
"""

from __future__ import annotations

import datetime
import decimal
import math

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import matrixdata as md
from matrixdata import homeserver
from matrixdata.cli import main
from tests.faults.harness import Break, fault
from tests.servers import RECORD
from tests.strategies import exact

pytestmark = pytest.mark.server
ACCEPTANCE = "matrixdata/publishing/acceptance.py"
CONTENT = "matrixdata/protocol/content.py"
CONVERT = "matrixdata/protocol/convert.py"
RULES = "matrixdata/protocol/rules.py"
STRICT = "matrixdata/protocol/strict.py"


@pytest.fixture
def network(server):
    return server.proxy()


@pytest.fixture
def client(server, network):
    return server.connect(server.name("input"), url=network.url)


@pytest.fixture
def plain(client):
    """A collection without a schema."""
    return client.create_collection("plain", encrypted=False)


def refused(plain, network, record):
    """What was said of a record that was refused, and that nothing of it was queued or sent."""
    with pytest.raises((md.RecordInvalid, md.TooLarge)) as caught:
        plain.publish(record)
    assert not [seen for seen in network.seen if seen.is_send]
    return caught.value


def places(error):
    return [(problem.pointer, problem.rule) for problem in error.problems]


NUMBERS = {
    "B1": [1.5, 1.0, 1e3, -0.0, 0.1 + 0.2, 5e-324, 1.7976931348623157e308],
    "B4": [2**53 - 1, 2**53, -(2**53), 2**63 - 1, -(2**63), 2**63, 2**64 - 1, -0, 21],
}


@fault("B1", "B4", broken=Break(CONTENT, "encode(to_record(value))", "to_record(value), []"))
def test_every_double_and_64_bit_integer_arrives_bit_for_bit(server, client, plain):
    plain.publish(NUMBERS, wait="synced")
    other = server.connect(client.user_id[1:].split(":")[0], store="other")
    (value,) = other.collection(plain.room_id).query().values()
    assert exact(value) == exact(NUMBERS)


@fault(
    "B2", "B3", "B4", "B5",
    broken=(
        Break(RULES, "float: math.isfinite,", "float: _always,"),
        Break(RULES, "int: WIDE_INTEGERS.__contains__,", "int: _always,"),
    ),
)  # fmt: skip
def test_numbers_that_json_or_64_bits_cannot_hold_are_refused_with_their_place(plain, network):
    for number, rule in (
        (math.nan, "finite"),
        (math.inf, "finite"),
        (float("1e400"), "finite"),
        (2**64, "integer-range"),
        (-(2**63) - 1, "integer-range"),
        (10**5000, "integer-range"),
    ):
        error = refused(plain, network, {"deep": [{"a/b": number}]})
        assert places(error) == [("/deep/0/a~1b", rule)]
        assert len(str(error)) < 1000


@fault(
    "B6",
    broken=Break(
        RULES,
        "except UnicodeEncodeError:\n        return False",
        "except UnicodeEncodeError:\n        return True",
    ),
)
def test_half_a_surrogate_pair_is_refused_in_values_and_keys(plain, network):
    assert places(refused(plain, network, {"a": ["\ud800"]})) == [("/a/0", "unicode")]
    assert places(refused(plain, network, {"a": {"\udfff": 1}}))[0][1] == "unicode"


@fault("B9", broken=Break(STRICT, "len(members) == len(pairs)", "len(members) <= len(pairs)"))
def test_a_key_that_stands_twice_in_a_file_is_refused_with_its_line(server, tmp_path):
    name = server.name("file")
    password = homeserver.register(server.address, name)
    with md.connect(server.url, user=server.user_id(name), password=password, profile="file") as client:
        room = client.create_collection("file", encrypted=False)
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1}\n{"b": {"x": 1, "x": 2}}\n')
    done = CliRunner().invoke(main, ["publish", "file", str(file), "--profile", "file"])
    assert done.exit_code == 1, done.output
    assert "/b/x" in done.stderr
    assert [event["content"]["value"] for event in server.raw(name).records(room.room_id)] == [{"a": 1}]


@fault("B12", broken=Break("matrixdata/model/limits.py", "MAX_DEPTH = 64", "MAX_DEPTH = 640"))
def test_nesting_beyond_64_levels_is_refused_and_64_arrive(plain, network):
    def nested(levels):
        value = 1
        for _ in range(levels):
            value = [value]
        return value

    deepest = {"a": nested(63)}
    for levels in (64, 300, 100_000):
        value = nested(levels)
        assert "depth" in {rule for _, rule in places(refused(plain, network, {"a": value}))}
        while isinstance(value, list):  # taken apart here: Python's own way out of it is recursive
            value = value.pop()
    plain.publish(deepest, wait="synced")
    assert plain.query().values() == [deepest]


@fault(
    "B13",
    "B14",
    broken=Break(ACCEPTANCE, "check_size(\n", "str(\n"),
)
def test_what_is_too_large_is_refused_by_its_bytes_and_the_largest_arrives(plain, network):
    for text in ("x" * 65_000, "é" * 33_000, "x" * 14_000_000, "\0" * 11_000):
        error = refused(plain, network, {"a": text})
        assert isinstance(error, md.TooLarge)
        assert error.size > error.limit
    room = error.limit - 1_000
    receipt = plain.publish({"a": "x" * room}, wait="synced")
    assert receipt.state == "synced"


@fault("B15", broken=Break(CONVERT, "if not isinstance(value, Mapping):", "if False:"))
def test_what_is_no_object_is_refused_with_what_to_do(plain, network):
    for record in ([1], "text", 1, None, {1, 2}, object()):
        assert "a record is a JSON object" in str(refused(plain, network, record))


@fault(
    "B19",
    broken=Break("matrixdata/publishing/drain.py", "wire.type, item.txn_id", "'m.room.member', item.txn_id"),
)
def test_publishing_sends_one_event_type_whatever_a_record_says(plain, network):
    plain.publish({"type": "m.room.redaction", "state_key": "", "redacts": "$x", "room_id": "!other:x"})
    (sent,) = (seen.path for seen in network.seen if seen.is_send)
    assert f"/send/{RECORD}/" in sent


PYTHON = {
    "numpy": (np.int64(5), 5),
    "float32": (np.float32(0.5), 0.5),
    "numpy bool": (np.bool_(True), True),
    "true": (True, True),
    "time": (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "2026-01-01T00:00:00Z"),
    "tuple": ((1, 2), [1, 2]),
}
UNPUBLISHABLE = [
    {1: 2},
    {"a": decimal.Decimal("0.1")},
    {"a": b"bytes"},
    {"a": {1, 2}},
    {"a": datetime.datetime(2026, 1, 1)},
    {"a": object()},
    {"a": pd.NaT},
    {"a": pd.NA},
    {"a": np.float64("nan")},
    {"a": 1j},
    {"a": np.array([1, 2])},
    {None: 1},
]


@fault("B20", broken=Break(CONVERT, 'if type(value).__module__ == "numpy" and', "if False and"))
def test_python_values_are_converted_by_a_table_and_all_others_refused_by_name(plain, network):
    for record in UNPUBLISHABLE:
        assert places(refused(plain, network, record))
    plain.publish({name: given for name, (given, _) in PYTHON.items()}, wait="synced")
    (value,) = plain.query().values()
    assert exact(value) == exact({name: kept for name, (_, kept) in PYTHON.items()})


@fault(
    "B21",
    broken=Break(
        "matrixdata/collection/bulk.py",
        "RejectedRow(number, error.problems)",
        "RejectedRow(0, error.problems)",
    ),
)
def test_a_frame_with_bad_rows_is_reported_row_by_row(client, network):
    schema = {"type": "object", "properties": {"temp": {"type": "number"}}, "required": ["temp"]}
    strict = client.create_collection("strict", schema=schema, encrypted=False)
    frame = pd.DataFrame({"n": range(2000), "temp": 20.0})
    frame.loc[[7, 1500], "temp"] = np.nan
    with pytest.raises(md.RecordInvalid):
        strict.publish_many(frame, on_error="raise")
    assert not [seen for seen in network.seen if seen.is_send]
    report = strict.publish_many(frame.head(20))
    assert (report.accepted, [row.row for row in report.rejected]) == (19, [7])
    assert [problem.rule for problem in report.rejected[0].problems] == ["required"]
