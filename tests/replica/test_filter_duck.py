"""The mapping filter in DuckDB: exactly the answers of `matches`, over 20,000 records and 200 filters."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from matrixdata.replica.filter_duck import compile_duckdb
from tests.replica import filters

pytestmark = pytest.mark.slow


def test_the_same_rows_as_in_python_for_every_filter() -> None:
    texts = [text.decode() for text in filters.texts()]
    found = {}
    with duckdb.connect(":memory:") as connection:
        connection.register("stored", pa.table({"id": range(len(texts)), "value": texts}))
        connection.execute("CREATE TABLE records AS FROM stored")
        for number, expression in enumerate(filters.expressions()):
            compiled = compile_duckdb(expression)
            query = f"SELECT id FROM records WHERE {compiled.sql}"
            found[number] = frozenset(i for (i,) in connection.execute(query, compiled.parameters).fetchall())

    assert filters.differences(found) == []
