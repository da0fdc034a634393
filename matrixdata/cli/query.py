"""`matrixdata query`: the records of a collection as a table, as JSON Lines, or as a file."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import click

from matrixdata.cli.failures import advised, used_wrongly
from matrixdata.cli.files import kind, output_option
from matrixdata.cli.output import say, write, write_json
from matrixdata.cli.records import META, Flat, flat, meta_of, picked, whole
from matrixdata.cli.settings import account_options, connect, current, examples
from matrixdata.cli.table import table
from matrixdata.cli.terms import where_of
from matrixdata.errors import MissingExtra, SqlError
from matrixdata.frames.jsonl import to_jsonl

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import matrixdata as md
    from matrixdata.model import JSON

_ROWS_ON_TERMINAL = 40
_SQL_ADVICE = (
    "--where takes a term that is neither like temp>20 nor JSON as SQL; text with spaces goes in quotes: "
    "--where 'note=\"two words\"'"
)


@click.command(
    epilog=examples(
        "matrixdata query greenhouse --where device=d1 --where 'temp>20' --since -24h",
        "matrixdata query greenhouse --where \"temp > 20 AND device LIKE 'd%'\"",
        "matrixdata query greenhouse --order -temp --limit 5 --columns ts,temp",
        "matrixdata query greenhouse -o greenhouse.parquet",
    )
)
@click.argument("name")
@click.option(
    "--where",
    metavar="TERM",
    multiple=True,
    help="A filter: device=d1, 'temp>20', a JSON mapping, or an SQL expression; repeatable, all must hold.",
)
@click.option("--since", metavar="TIME", help="From here on: 2026-01-01T00:00:00Z, or -24h.")
@click.option("--until", metavar="TIME", help="Up to here, exclusive.")
@click.option("--columns", metavar="A,B", help="Only these, in this order; nested ones as a.b.")
@click.option("--order", metavar="COLUMN", help='By "time" or a column; with - before it, descending.')
@click.option("--limit", type=click.IntRange(min=0), help="At most so many records.")
@click.option("--count", is_flag=True, help="Only how many there are.")
@click.option("--meta", is_flag=True, help="Sender, time and event id too.")
@output_option
@account_options
def query(
    name: str,
    *,
    where: tuple[str, ...],
    since: str | None,
    until: str | None,
    columns: str | None,
    order: str | None,
    limit: int | None,
    count: bool,
    meta: bool,
    output: Path | None,
) -> None:
    """Show the records of the collection NAME: everything the server has now, and what waits to be sent.

    If something is missing from the result, it says so on stderr.
    """  # fmt: skip
    chosen = [column.strip() for column in columns.split(",")] if columns is not None else None
    with connect() as client:
        collection = client.collection(name)
        with used_wrongly(), advised(_SQL_ADVICE, SqlError, MissingExtra):
            result = collection.query(
                where_of(where), since=since, until=until, columns=chosen, order=order, limit=limit
            )
            picked({}, chosen or ())  # a path that is none is told now, whatever the output
        _show(collection, result, chosen, limited=limit is not None, count=count, meta=meta, output=output)
        completeness = result.completeness
        if completeness.complete and str(completeness) != "complete":
            say(str(completeness), label="note")


def _show(
    collection: md.Collection,
    result: md.Query,
    columns: Sequence[str] | None,
    *,
    limited: bool,
    count: bool,
    meta: bool,
    output: Path | None,
) -> None:
    if count:
        number = result.count()
        write_json(number) if current().as_json else write(f"{number:,}")
        return
    if output is not None and kind(output) in {".parquet", ".csv"}:
        (result.to_parquet if kind(output) == ".parquet" else result.to_csv)(output, meta=meta)
        say(f"wrote {output}")
        return
    records = result.records()
    if output is not None:
        to_jsonl([_row(record, columns, meta=meta) for record in records], output)
        say(f"wrote {len(records):,} records to {output}")
    elif current().as_json:
        for record in records:
            write_json(_row(record, columns, meta=meta))
    else:
        _print_table(records, _keys(collection), columns, meta=meta, every_row=limited)


def _row(record: md.Record, columns: Sequence[str] | None, *, meta: bool) -> JSON:
    if meta:
        return whole(record, columns)
    return record.value if columns is None else picked(record.value, columns)


def _keys(collection: md.Collection) -> list[str]:
    """The keys of records in the order of the schema, which records themselves have no order of."""
    properties = collection.schema.get("properties") if isinstance(collection.schema, dict) else None
    return list(properties) if isinstance(properties, dict) else []


def _print_table(
    records: Sequence[md.Record],
    keys: Sequence[str],
    columns: Sequence[str] | None,
    *,
    meta: bool,
    every_row: bool,
) -> None:
    if not records:
        say("no records")
        return
    shown = records if every_row else records[:_ROWS_ON_TERMINAL]
    if columns is None:
        cells = flat([record.value for record in shown], keys)
    else:
        cells = Flat([*columns], [picked(record.value, columns) for record in shown])
    for key in META if meta else ():
        cells.add(key, [meta_of(record)[key] for record in shown])
    laid_out = table(cells.rows, cells.columns, width=shutil.get_terminal_size().columns)
    write(laid_out.text)
    if laid_out.left_out:
        say(f"no room for {', '.join(laid_out.left_out)}; choose with --columns")
    if len(shown) < len(records):
        say(f"… and {len(records) - len(shown):,} more records; show them with --limit {len(records)}")
