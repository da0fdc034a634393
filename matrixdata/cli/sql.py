"""`matrixdata sql`: one SELECT over collections, as a table, as JSON Lines, or as a file."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import click

from matrixdata.cli.failures import used_wrongly
from matrixdata.cli.files import kind, output_option
from matrixdata.cli.output import say, write, write_json
from matrixdata.cli.settings import account_options, connect, current, examples
from matrixdata.cli.table import table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matrixdata.connect.sql import SqlResult
    from matrixdata.model import JSONObject

_ROWS_ON_TERMINAL = 40


@click.command(
    epilog=examples(
        "matrixdata sql 'SELECT device, avg(temp) AS mean FROM greenhouse GROUP BY device'",
        "matrixdata sql 'SELECT * FROM greenhouse WHERE temp > 20' -o warm.parquet",
    )
)
@click.argument("select")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Seconds to wait for what the server has now; 0 reads what is here.",
)
@output_option
@account_options
def sql(select: str, *, timeout: float, output: Path | None) -> None:
    """Run one SELECT over your collections, by the names you gave them; other names go in "double quotes".

    The SQL is DuckDB's (pip install 'matrixdata[data]'). It reads the collections it names and nothing else, and
    writes nothing. If something is missing from a collection, it says so on stderr.
    """
    with connect() as client:
        with used_wrongly():
            result = client.sql(select, timeout=timeout)
        if output is not None:
            _write(result, output)
        else:
            _show(result)
        completeness = result.completeness
        if completeness.complete and str(completeness) != "complete":
            say(str(completeness), label="note")


def _write(result: SqlResult, path: Path) -> None:
    from matrixdata import frames  # noqa: PLC0415  it costs more than --help

    if kind(path) == ".parquet":
        import pyarrow.parquet as pq  # noqa: PLC0415  optional and slow; SQL has it at hand

        from matrixdata.frames.atomic import written  # noqa: PLC0415  as above

        found = result.to_arrow()
        with written(path) as file:
            pq.write_table(found, file, compression="zstd")
        say(f"wrote {found.num_rows:,} rows to {path}")
        return
    rows = result.records()
    if kind(path) == ".csv":
        names = result.columns()
        # Beside empty records: the names that SQL gives are no paths into a record.
        cells = {name: [row[name] for row in rows] for name in names}
        frames.to_csv([{}] * len(rows), path, columns=names, meta=cells)
    else:
        frames.to_jsonl(rows, path)
    say(f"wrote {len(rows):,} rows to {path}")


def _show(result: SqlResult) -> None:
    rows, names = result.records(), result.columns()
    if current().as_json:
        for row in rows:
            write_json(row)
    else:
        _show_table(rows, names)
    if not rows:
        say(f"no rows; columns: {', '.join(names)}" if current().as_json else "no rows")


def _show_table(rows: Sequence[JSONObject], names: Sequence[str]) -> None:
    shown = rows[:_ROWS_ON_TERMINAL]
    laid_out = table(shown, names, width=shutil.get_terminal_size().columns)
    write(laid_out.text)
    if laid_out.left_out:
        say(f"no room for {', '.join(laid_out.left_out)}; select fewer columns")
    if len(shown) < len(rows):
        say(f"… and {len(rows) - len(shown):,} more rows; write them to a file with -o, or say --json")
