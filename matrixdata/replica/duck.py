"""SQL in a sandbox: a DuckDB in memory that sees the tables it is given and nothing else.

No files, no network, no extensions, no settings, no Python variables; bounded in threads and memory. The statements
that come here are checked by `replica.duck_statement` first. Must not let a DuckDB error out as it is: it quotes data.
"""

from __future__ import annotations

import difflib
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread

from matrixdata.errors import MissingExtra, NotFound, SqlError
from matrixdata.model.problem import shown
from matrixdata.replica.duck_columns import SqlTable, sql_table
from matrixdata.replica.duck_statement import checked_expression, checked_select, mapped_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    import pyarrow as pa

    from matrixdata.model.json import JSON

T = TypeVar("T")

_ROW = "_row"
"""A further column, by which rows are found again."""
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",  # what does not fit in memory fails, instead of being written to a disk
}


class Sandbox:
    """One DuckDB session, to be closed. `interrupt` may be called from another thread."""

    def __init__(self, *, threads: int = 2, memory: str = "2GB") -> None:
        try:
            import duckdb  # noqa: PLC0415  optional, and slow to import
            import pyarrow  # noqa: F401, PLC0415  as above
        except ImportError:
            raise MissingExtra("SQL", "data") from None
        with mapped_errors():
            self._session = duckdb.connect(
                ":memory:", config={**_SETTINGS, "threads": str(threads), "memory_limit": memory}
            )
            self._session.execute("SET TimeZone = 'UTC'")
            # In a kernel merely setting it asks for ipywidgets, so it is left alone where it is off already.
            if self._session.execute("SELECT current_setting('enable_progress_bar')").fetchall() == [(True,)]:
                self._session.execute("SET enable_progress_bar = false")
            self._session.execute("SET lock_configuration = true")
        self._stopped = threading.Event()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session and free its memory."""
        self._session.close()

    def interrupt(self) -> None:
        """Stop what is running; it raises SqlError in its own thread."""
        self._stopped.set()
        self._session.interrupt()

    def table_names(self, sql: str) -> tuple[str, ...]:
        """The tables that one SELECT reads; see `checked_select`."""
        return checked_select(self._session, sql)

    def select(self, sql: str, tables: Mapping[str, pa.Table | SqlTable]) -> pa.Table:
        """The result of one SELECT over the tables given, which are found by their exact names.

        Raises:
            SqlError: it is no single SELECT, or DuckDB refuses it.
            NotFound: it reads a table that is not given.
        """
        names = self.table_names(sql)
        note = ""
        for name in names:
            if name not in tables:
                raise NotFound(_unknown(name, list(tables)))
            table = tables[name]
            note += table.note if isinstance(table, SqlTable) else ""
            self._register(name, table.table if isinstance(table, SqlTable) else table)
        return _whole_numbers(self._run(sql, note))

    def check_where(self, where: str) -> None:
        """See `checked_expression`."""
        checked_expression(self._session, where)

    def rows_where(self, table: SqlTable, where: str) -> list[int]:
        """What stands in the column `_row` where one SQL expression is true, ascending; see `filter_rows`."""
        import pyarrow as pa  # noqa: PLC0415  optional, and slow to import

        checked_expression(self._session, where)
        self._register("records", table.table)
        kind = self._run(f"SELECT ({where}\n) AS kept FROM records LIMIT 0", table.note).schema.field(0).type  # noqa: S608  checked
        if not (pa.types.is_boolean(kind) or pa.types.is_null(kind)):
            raise SqlError(f"where={shown(where)} is no condition: it gives {kind}, neither true nor false")
        found = self._run(f'SELECT "{_ROW}" FROM records WHERE {where}\n', table.note)  # noqa: S608  checked above
        return sorted(found.column(0).to_pylist())

    def _register(self, name: str, table: pa.Table) -> None:
        with mapped_errors():
            self._session.register(name, table)

    def _run(self, sql: str, note: str) -> pa.Table:
        if self._stopped.is_set():
            raise SqlError("interrupted")
        with mapped_errors(note):
            return self._session.sql(sql).to_arrow_table()


def _unknown(name: str, names: list[str]) -> str:
    alike = [each for each in names if each.lower() == name.lower()]
    close = alike or difflib.get_close_matches(name, names, n=1)
    return f"no collection is named {shown(name)}" + (
        f"; did you mean {close[0]!r}?"
        if close
        else f"; there are {', '.join(map(repr, names[:10])) or 'none'}"
    )


def _whole_numbers(table: pa.Table) -> pa.Table:
    """Sums of integers as int64 or uint64 where they fit; DuckDB gives 128 bits, which pandas has no type for."""
    import pyarrow as pa  # noqa: PLC0415  optional, and slow to import

    for number, made in enumerate(table.schema):
        if pa.types.is_decimal(made.type) and made.type.scale == 0:
            for kind in (pa.int64(), pa.uint64()):
                try:
                    column = table.column(number).cast(kind)
                except pa.ArrowInvalid:
                    continue
                table = table.set_column(number, pa.field(made.name, kind), column)
                break
    return table


def table_names(sql: str) -> list[str]:
    """The tables that one SELECT reads, spelt as there, sorted; those that WITH names are not among them.

    Raises:
        MissingExtra: DuckDB or pyarrow is not installed.
        SqlError: it is no single SELECT, or it names tables of which two differ only in case.
        TypeError: it is no text.
    """
    with Sandbox() as sandbox:
        return list(sandbox.table_names(sql))


def check_where(where: str) -> None:
    """Raise what `filter_rows` would raise whatever the records; a mistake in a column's name shows only there."""
    with Sandbox() as sandbox:
        sandbox.check_where(where)


def run_sql(sql: str, tables: Mapping[str, pa.Table | SqlTable]) -> pa.Table:
    """Run one SELECT over tables in a sandbox of its own; see `Sandbox.select`."""
    with Sandbox() as sandbox:
        return sandbox.select(sql, tables)


def filter_rows(
    values: Sequence[JSON],
    metas: Mapping[str, Sequence[Any]] | None,
    where: str,
    *,
    schema: object = None,
) -> list[int]:
    """The numbers of the records for which an SQL expression is true, ascending.

    SQL's own rules hold: a missing key and null are NULL, and what is NULL is not kept.

    Args:
        values: the records' values, laid out as `sql_table` says.
        metas: further columns, such as `_sender`, one item a record.
        where: one expression as after WHERE.
        schema: JSON Schema as Python holds it.

    Raises:
        SqlError: it is no single boolean expression, names no column, or fails on some record.
        TypeError: it is no text.
    """
    if not values and schema is None:  # nothing says which columns there are
        check_where(where)
        return []
    table = sql_table(values, schema=schema, meta={**(metas or {}), _ROW: range(len(values))})
    with Sandbox() as sandbox:
        return sandbox.rows_where(table, where)


async def interruptible(work: Callable[[Sandbox], T]) -> T:
    """Run `work` with a sandbox on a worker thread; cancelled, what DuckDB is doing there is stopped."""
    sandbox = await anyio.to_thread.run_sync(Sandbox)

    def run() -> T:
        with sandbox:
            return work(sandbox)

    try:
        return await anyio.to_thread.run_sync(run, abandon_on_cancel=True)
    except anyio.get_cancelled_exc_class():
        sandbox.interrupt()
        raise
