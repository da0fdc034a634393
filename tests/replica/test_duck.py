"""SQL in the sandbox: what it answers, and everything that it must not do."""

from __future__ import annotations

import os
import socket
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
import pyarrow as pa
import pytest

from matrixdata.errors import MatrixDataError, NotFound
from matrixdata.model.expression import matches
from matrixdata.model.where import parse_where
from matrixdata.replica.duck import Sandbox, check_where, filter_rows, interruptible, run_sql, table_names
from matrixdata.replica.duck_columns import sql_table
from matrixdata.replica.duck_result import pandas_frame, rows
from matrixdata.replica.duck_statement import SqlError
from tests.faults.harness import Break, fault
from tests.replica import filters

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from pathlib import Path

ROWS: list[Any] = [
    {"temp": 21.5, "nested": {"temp": 4, "deep": {"x": 1}}, "mixed": 1, "u": 2**64 - 1, "tags": ["a", "b"]},
    {"temp": None, "nested": {}, "mixed": "hot", "device": "d'1"},
    {"nested": None, "mixed": {"k": [7]}, "none": None},
    {"temp": -3.0, "nested": {"temp": 9}, "ts": "2026-01-01T00:00:00+02:00"},
]
TABLE = {"t": pa.table({"i": [1, 2], "s": ["a", "b"]})}


# -- expressions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("temp > 20", [0]),
        ("temp > 20 AND nested.deep.x = 1", [0]),
        ("nested.temp > 3", [0, 3]),
        ("nested is null", [2]),
        ("temp is null", [1, 2]),
        ("not temp > 20", [3]),
        ("device = 'd''1'", [1]),
        ("device like 'd%' -- trailing words", [1]),
        ("u = 18446744073709551615", [0]),
        ("mixed->>'$' = 'hot'", [1]),
        ("mixed->>'$.k[0]' = '7'", [2]),
        ("TRY_CAST(mixed AS INTEGER) = 1", [0]),
        ("none > 3 or none = 'x'", []),
        ("list_contains(tags, 'b')", [0]),
        ("_sender = '@b:hs'", [1]),
        ("_time < TIMESTAMPTZ '2026-01-03T00:00:00Z'", [0, 1]),
        ("true", [0, 1, 2, 3]),
    ],
)
def test_an_expression_keeps_the_rows_for_which_it_is_true(where: str, expected: list[int]) -> None:
    metas = {
        "_sender": ["@a:hs", "@b:hs", "@c:hs", "@d:hs"],
        "_time": [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)],
    }

    assert filter_rows(ROWS, metas, where) == expected


def test_a_schema_gives_types_and_columns_that_no_record_has() -> None:
    schema = {"properties": {"ts": {"type": "string", "format": "date-time"}, "rain": {"type": "number"}}}

    assert filter_rows(ROWS, {}, "ts < TIMESTAMPTZ '2026-01-01T00:00:00Z'", schema=schema) == [3]
    assert filter_rows(ROWS, {}, "rain > 1", schema=schema) == []
    assert filter_rows([], {}, "rain > 1", schema=schema) == []
    assert filter_rows([], {}, "anything > 1") == []


def literal(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)


def test_sql_and_the_mapping_find_the_same_in_columns_of_one_type() -> None:
    data = [
        r
        for r in filters.records()
        if isinstance(r, dict) and ("weather" in r or r.keys() == {"date", "temp"})
    ]
    for key, operands in [*filters._REAL, ("wind", [2.5, 1])]:
        for op in ("=", "!=", "<", ">="):
            expression = parse_where({key: {op: operands[0]}})
            expected = [i for i, record in enumerate(data) if matches(expression, record)]
            assert filter_rows(data, {}, f'"{key}" {op} {literal(operands[0])}') == expected
        expression = parse_where({key: {"in": operands}})
        listed = ", ".join(map(literal, operands))
        expected = [i for i, record in enumerate(data) if matches(expression, record)]
        assert filter_rows(data, {}, f'"{key}" in ({listed})') == expected


@pytest.mark.parametrize(
    "where",
    [
        "temp > 1 order by 1",
        "temp > 1 limit 1",
        "temp > 1 group by all",
        "temp > 1 union select 1",
        "true; select 1",
        "true; drop table records",
        "; select 1",
        "1=1) or (1=1",
        "1=1) union (select 1",
        "true /*",
        "true qualify true",
        "true using sample 1",
        "temp > (select 1)",
        "exists (from records)",
        "exists(from read_text('/etc/passwd'))",
        "temp in (select temp from records)",
        "temp > ?",
        "temp > $1",
        "avg(temp) > 1",
        "row_number() over () > 1",
        "temp",
        "1",
        "'true'",
        "",
        "  ",
        "-- nothing",
        "a\0b = 1",
        "nope > 1",
        "temp >",
        "mixed > 3",
    ],
)
def test_what_is_no_single_condition_is_refused(where: str) -> None:
    with pytest.raises(SqlError) as refused:
        filter_rows(ROWS, {}, where)

    assert isinstance(refused.value, ValueError)
    assert isinstance(refused.value, MatrixDataError)


def test_mistakes_that_need_no_records_are_found_without() -> None:
    check_where("nope > 1")
    with pytest.raises(SqlError, match="ORDER BY"):
        check_where("true order by 1")
    with pytest.raises(TypeError):
        check_where(5)  # type: ignore[arg-type]  # that is the mistake


def test_keys_that_differ_only_in_case_stay_apart_under_stated_names() -> None:
    data = [{"Temp": 1, "temp": 2, "in": {"a": 1, "A": 2}}, {"TEMP": 3}]

    with pytest.raises(SqlError, match="'Temp' is \"Temp#1\""):
        filter_rows(data, {}, "temp > 0")
    assert filter_rows(data, {}, '"Temp#1" = 1 and "temp#2" = 2 and "in"."a#1" = 1 and "in"."A#2" = 2') == [0]
    assert filter_rows(data, {}, '"TEMP#3" = 3') == [1]


def test_a_strangers_key_cannot_take_the_name_of_a_declared_column() -> None:
    schema = {"properties": {"temp": {"type": "number"}}}
    data = [{"TEMP": 99, "temp": 1}, {"TEMP#1": 5, "_SENDER": "@root:hs", "_row": 0}]

    table = sql_table(data, schema=schema, meta={"_sender": ["@a:hs", "@b:hs"]})
    names = [name.lower() for name in table.table.column_names]

    assert len(set(names)) == len(names)
    assert filter_rows(
        data, {"_sender": ["@a:hs", "@b:hs"]}, "temp = 1 and _sender = '@a:hs'", schema=schema
    ) == [0]
    assert filter_rows(
        data, {"_sender": ["@a:hs", "@b:hs"]}, '"""_SENDER""" = \'@root:hs\'', schema=schema
    ) == [1]


def test_records_of_every_shape_can_be_laid_out() -> None:
    data = filters.records()[:2000]
    table = sql_table(data, meta={"_uid": list(map(str, range(len(data))))})

    (row,) = rows(run_sql("select count(*) as n, max(_uid) as last from r", {"r": table}))
    assert row == {"n": 2000, "last": "999"}
    expression = parse_where({"temp_max": {">": 30}})
    expected = [i for i, record in enumerate(data) if matches(expression, record)]
    assert filter_rows(data, {}, "temp_max > 30") == expected != []


# -- statements ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ('select * from a, "B.c" b join "Green" g on true', ["B.c", "Green", "a"]),
        ("with x as (select * from y) select * from x", ["y"]),
        (
            "with recursive r(n) as (select 1 union all select n + 1 from r where n < 5) select * from r, q",
            ["q"],
        ),
        ("from a select x union all from a", ["a"]),
        ("select (select max(z) from zz) from (values (1))", ["zz"]),
        ('select * from "!room:hs"', ["!room:hs"]),
        ("select * from pg_tables", ["pg_tables"]),
        ("select 1", []),
        ("with x as (select * from x) select * from x", ["x"]),
        ("select * from x, (with x as (select 1) select * from x)", ["x"]),
        ("with a as (from t), b as (from a) select * from b, (from c)", ["c", "t"]),
        ("with x as materialized (select * from y) select * from x", ["y"]),
        ("select place.lat from a join b using (device) where tags[1] = 'x'", ["a", "b"]),
        ("select 1 where exists (select * from e) order by (select max(x) from f)", ["e", "f"]),
        ("describe select * from d", ["d"]),
    ],
)
def test_the_names_that_a_statement_reads(sql: str, names: list[str]) -> None:
    assert table_names(sql) == names


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        ("select sum(i) as s, count(*) as n from t", [{"s": 3, "n": 2}]),
        ("with x as (select i + 1 as j from t) select max(j) as j from x", [{"j": 3}]),
        ("select i from t union select 5 order by 1 desc", [{"i": 5}, {"i": 2}, {"i": 1}]),
        ("from t where s = 'b'", [{"i": 2, "s": "b"}]),
        ("select range as r from range(2)", [{"r": 0}, {"r": 1}]),
        ("select i * 0.5 as h, null as n, true as b from t limit 1", [{"h": 0.5, "n": None, "b": True}]),
        ("select timestamptz '2026-01-01 00:00:00+02' as t", [{"t": "2025-12-31T22:00:00Z"}]),
        ("select {'a': [1]} as s, date '2026-01-01' as d", [{"s": {"a": [1]}, "d": "2026-01-01"}]),
        ("select i from t where false", []),
    ],
)
def test_one_select_is_answered(sql: str, answer: list[dict[str, Any]]) -> None:
    assert rows(run_sql(sql, TABLE)) == answer


def test_values_stay_exact() -> None:
    table = sql_table([{"u": 2**64 - 1, "i": 2**53 + 1, "f": 5e-324, "t": "x\0y"}])
    answer = rows(run_sql("select u, i, f, t, sum(i) as s from r group by all", {"r": table}))

    assert answer == [{"u": 2**64 - 1, "i": 2**53 + 1, "f": 5e-324, "t": "x\0y", "s": 2**53 + 1}]


def test_a_frame_has_types_that_hold_missing_values() -> None:
    table = run_sql("select i, nullif(i, 1) as n, i > 1 as b, i * 1.5 as d, s, now() as t from t", TABLE)
    frame = pandas_frame(table, attrs={"complete": True})

    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        "i": "Int64", "n": "Int64", "b": "boolean", "d": "float64", "s": "str", "t": "datetime64[us, UTC]",
    }  # fmt: skip
    assert frame.attrs["matrixdata"] == {"complete": True}


@pytest.mark.parametrize(
    "sql",
    [
        "create table x as select 1", "insert into t values (1)", "update t set i = 1", "delete from t", "drop view t",
        "alter table t add column x int", "with x as (insert into t values (3, 'c') returning *) from x", "truncate t",
        "copy t to '{file}'", "copy (select 1) to '{file}'", "export database '{file}'", "import database '{file}'",
        "attach '{file}'", "attach ':memory:' as other", "use other", "detach memory", "checkpoint", "vacuum",
        "install httpfs", "load httpfs", "force install httpfs", "update extensions", "pragma version",
        "pragma enable_profiling", "set threads = 1", "set enable_external_access = true", "reset threads",
        "call pragma_version()", "begin", "commit", "prepare q as select 1", "execute q", "explain analyze select 1",
        "create secret s (type s3)", "create macro m(a) as a", "set variable x = 1", "select 1; select 2", "",
    ],
)  # fmt: skip
def test_nothing_but_one_select_is_run(sql: str, tmp_path: Path) -> None:
    with pytest.raises((SqlError, NotFound)):
        run_sql(sql.format(file=tmp_path / "out"), TABLE)

    assert list(tmp_path.iterdir()) == []


READERS = [
    "read_csv('{f}')", "read_csv_auto('{f}')", "read_text('{f}')", "read_blob('{f}')", "read_json('{f}')",
    "read_json_auto('{f}')", "read_ndjson_objects('{f}')", "read_parquet('{f}')", "parquet_scan('{f}')",
    "parquet_metadata('{f}')", "parquet_schema('{f}')", "sniff_csv('{f}')", "glob('{f}')", "read_duckdb('{f}')",
    "'{f}'", "\"{f}\"", "'{url}'", "read_csv('{url}')", "read_parquet('{url}')", "read_text('{url}')",
    "sqlite_scan('{f}', 't')", "query('from read_text(''{f}'')')", "query_table('{f}')", "duckdb_settings()",
    "duckdb_secrets()", "duckdb_extensions()", "arrow_scan(1::pointer, 1::pointer, 1::pointer)",
    "pandas_scan(1::pointer)", "python_map_function(1)", "pragma_table_info('t')", "information_schema.tables",
    "memory.main.t", "pg_catalog.pg_class", "pg_tables", "sqlite_master", "local_table",
    "json_execute_serialized_sql('')",
    "enable_logging()", "duckdb_logs()", "main.read_text('{f}')",
]  # fmt: skip


@pytest.mark.parametrize("source", READERS)
def test_nothing_but_what_was_given_is_read(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_table = pa.table({"secret": [1]})  # a Python variable must not become a table
    assert local_table.num_rows == 1
    secret = tmp_path / "f.csv"
    secret.write_text("secret\n1\n")
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/f.csv"
        for sql in (f"select * from {source}", f"with x as (select * from {source}) select 1 from t, x"):
            with pytest.raises((SqlError, NotFound)):
                run_sql(sql.format(f=secret, url=url), TABLE)
        with pytest.raises(BlockingIOError):
            listening.accept()


@fault("T-B3", broken=Break("matrixdata/replica/duck.py", 'access": "false"', 'access": "true"'))
@pytest.mark.parametrize(
    "source", ["read_text('{f}')", "'{f}'", "read_csv('{f}')", "glob('{f}')", "local_table"]
)
def test_the_sandbox_holds_without_the_check_of_statements(source: str, tmp_path: Path) -> None:
    local_table = pa.table({"secret": [1]})
    assert local_table.num_rows == 1
    secret = tmp_path / "f.csv"
    secret.write_text("secret\n1\n")
    with Sandbox() as sandbox:
        for sql in (f"select * from {source}", "copy (select 1) to '{f}'", "set enable_external_access = true",
                    "load httpfs", "install httpfs", "attach '{f}.db'"):  # fmt: skip
            with pytest.raises(SqlError):
                sandbox._run(sql.format(f=secret), "")
    assert [each.name for each in tmp_path.iterdir()] == ["f.csv"]


def test_the_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRIXDATA_CANARY", "canary")
    assert os.environ["MATRIXDATA_CANARY"] == "canary"
    for function in ("getenv('MATRIXDATA_CANARY')", "current_setting('MATRIXDATA_CANARY')"):
        with pytest.raises(SqlError):
            run_sql(f"select {function}", TABLE)


def test_names_that_differ_only_in_case_are_never_mixed_up() -> None:
    tables = {"green": pa.table({"x": ["green"]}), "Green": pa.table({"x": ["Green"]})}

    assert rows(run_sql('select x from "Green"', tables)) == [{"x": "Green"}]
    assert rows(run_sql("select x from green", tables)) == [{"x": "green"}]
    for sql in ("select * from green, Green", "with GREEN as (select 1) select * from green"):
        with pytest.raises(SqlError, match="only in case"):
            run_sql(sql, tables)
    with pytest.raises(NotFound, match="did you mean 'green'"):
        run_sql("from GREEN", {"green": tables["green"]})


def test_an_error_is_inert_and_says_what_to_do() -> None:
    hostile = sql_table([{"x": 1}, {"x": "\x1b[31m<b>'; --"}])

    with pytest.raises(SqlError) as failed:
        run_sql("select cast(x as integer) from r", {"r": hostile})

    assert "\x1b" not in str(failed.value)
    assert "TRY_CAST" in str(failed.value)


def test_memory_is_bounded() -> None:
    with Sandbox(memory="50MB") as sandbox, pytest.raises(SqlError, match=r"(?i)memory"):
        sandbox.select("select count(distinct md5(range::varchar)) from range(50_000_000)", {})


def test_two_columns_of_one_name_are_no_rows() -> None:
    with pytest.raises(SqlError, match="AS"):
        rows(run_sql("select i, i from t", TABLE))


ENDLESS = "select sum(sqrt(a.range + b.range)) from range(10_000_000) a, range(10_000_000) b"


def test_a_query_can_be_interrupted() -> None:
    with Sandbox() as sandbox:
        failed: list[BaseException] = []

        def run() -> None:
            try:
                sandbox.select(ENDLESS, {})
            except SqlError as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while thread.is_alive():  # again and again: DuckDB forgets an interrupt that comes before it starts
            sandbox.interrupt()
            thread.join(0.05)
        assert len(failed) == 1


def test_cancelling_ends_what_runs() -> None:
    ended = threading.Event()

    def work(sandbox: Sandbox) -> None:
        try:
            sandbox.select(ENDLESS, {})
        finally:
            ended.set()

    async def main() -> None:
        with anyio.move_on_after(0.5):
            await interruptible(work)

    anyio.run(main)
    assert ended.wait(20)


def test_a_number_that_no_record_holds_is_written_as_text() -> None:
    (row,) = rows(run_sql("select 'NaN'::double as n, interval 1 day as i, time '10:00' as t", TABLE))

    assert row["n"] == "nan"
    assert isinstance(row["i"], str)
    assert row["t"] == "10:00:00"
