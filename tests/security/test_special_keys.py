"""Keys and texts that mean something to SQL, JSON paths, JavaScript, Python or a terminal are plain data here."""

from __future__ import annotations

import csv
import json
import logging

import pytest

from matrixdata.model.paths import format_path
from matrixdata.protocol.strict import loads
from tests.faults.harness import Break, fault
from tests.servers import TestServer, dumped
from tests.strategies import exact

pytestmark = pytest.mark.server

PATHS = "matrixdata/model/paths.py"
KEYS = (
    *("", " ", "\0", "a\0b", "a\0c", "a.b", "a b", 'a"b', "a'b", "a`b", "a[0]", "$", "$.a", "$.a.b", "%s", "%", "a%"),
    *("__proto__", "constructor", "__class__", "__dict__", "{0.__class__}", "{value}", "caf\u00e9", "cafe\u0301"),
    *("\U0001f4a5", "\u202ekey", "\x1b[31m", "a\nb", "a\r\nb", "\ufeff", "'; DROP TABLE event; --"),
    *("*", "~1", "/", "\\"),
    *("=cmd()", "_id", "rowid", "value", "event_id", "select", "NULL", "0", "-1"),
)  # fmt: skip
TWINS = {"a.b": 1, "a": {"b": 2, "b.c": {"": 3}}, '"a"': {"b": 4}, "caf\u00e9": 5, "cafe\u0301": 6}
TEXTS = [
    "a\0b",
    "a\0c",
    "a",
    "",
    "'",
    '"',
    "%",
    "_",
    "$",
    "{0.__class__}",
    "caf\u00e9",
    "cafe\u0301",
    "\u2028",
]


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture(scope="module")
def client(server_address, tmp_path_factory):
    """Another store of a user who published one record for each key, the twins, and each text."""
    server = TestServer(server_address, tmp_path_factory.mktemp("keys"))
    name = server.name("keys")
    mine = server.connect(name).create_collection("keys", encrypted=False)
    mine.publish_many([{key: number, "n": number} for number, key in enumerate(KEYS)])
    mine.publish({**TWINS, "n": -1})
    mine.publish_many([{"text": text, "n": -2} for text in TEXTS])
    yield server.connect(name, store="other")
    for each in server.open:
        each.close()


@pytest.fixture
def kept(client):
    return client.collection("keys")


@fault(
    "B7", "B10", "B11", "T-B3", "T-B8",
    broken=(
        Break(PATHS, "_quoted(key) if quote or", "key if True or"),
        Break("matrixdata/replica/filter_sql.py", '> 0"\n_UNSAYABLE', '> 99999"\n_UNSAYABLE'),
    ),
)  # fmt: skip
def test_every_key_and_text_is_found_by_itself_alone_in_filters_and_sql(client, kept):
    for number, key in enumerate(KEYS):
        expected = [{key: number, "n": number}]
        assert kept.query({(key,): number, "n": number}).values() == expected, key
        assert kept.query({(key,): {"exists": True}, "n": {">=": 0}}).values() == expected, key
    columns = [quoted(format_path((key,))) for key in KEYS]
    counts = [f"count(*) FILTER ({column} = {i} AND n = {i})" for i, column in enumerate(columns)]
    (counted,) = client.sql(f"SELECT [{', '.join(counts)}] AS here FROM keys").records()
    assert counted["here"] == [1] * len(KEYS)
    for number in (0, 3, 7):
        assert kept.query(f"{columns[number]} = {number}").values() == [{KEYS[number]: number, "n": number}]
    for text in TEXTS:
        assert kept.query({"text": text}).values() == [{"text": text, "n": -2}], text
    assert kept.query({("a.b",): 1}).count() == kept.query({("a", "b"): 2}).count() == 1
    assert kept.query({("a.b",): 2}).count() == kept.query({("a", "b"): 1}).count() == 0
    assert kept.query({("a", "b.c", ""): 3}).count() == 1
    assert kept.query().count() == len(KEYS) + 1 + len(TEXTS)


@fault("B7", "B10", "B11", "T-B8", broken=Break(PATHS, "_quoted(key) if quote or", "key if True or"))
def test_frames_and_files_hold_every_key_apart_and_every_text_exactly(kept, tmp_path):
    values = kept.query().values()
    assert {dumped(value) for value in values} >= {dumped({key: i, "n": i}) for i, key in enumerate(KEYS)}
    frame = kept.query().to_pandas()
    paths = {(key,) for key in KEYS} | {("n",), ("text",), ("a", "b"), ("a", "b.c", ""), ('"a"', "b")}
    assert set(frame.columns) == {format_path(path) for path in paths}
    for number, key in enumerate(KEYS):
        column = frame[format_path((key,))]
        assert column[frame["n"] == number].tolist() == [number]
    lines = kept.query().to_jsonl(tmp_path / "keys.jsonl").read_bytes().splitlines()
    assert sorted(exact(loads(line)) for line in lines) == sorted(map(exact, values))
    written = kept.query().to_csv(tmp_path / "keys.csv", safe=False)
    with written.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert set(header) == set(frame.columns)
    assert len(rows) == len(values)
    texts = {row[header.index("text")] for row in rows}
    assert texts >= set(TEXTS)


@fault(
    "T-B8", "T-B9", broken=Break("matrixdata/model/problem.py", "c if c.isprintable() else", "c if True else")
)
def test_text_from_others_is_never_a_format_an_attribute_or_a_command(kept, caplog):
    caplog.set_level(logging.DEBUG)
    for record in kept.query():
        for key in record.value:
            if key.isidentifier() and not key.startswith("__"):
                assert key in {"value", "event_id"} or not hasattr(record, key)
        assert repr(record).isprintable()
        assert record.__class__.__name__ == "Record"
    printed = caplog.text.replace("\n", "")
    assert printed.isprintable()
    assert json.dumps("<class")[1:-1] not in printed
