"""The demo's course: server, collection, publisher and subscriber, results, what to try next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from matrixdata.cli.demo.processes import READY, SENDER, SENT, Process
from matrixdata.cli.demo.readings import Readings, from_csv, seattle
from matrixdata.cli.failures import advised
from matrixdata.cli.output import json_line, say, write
from matrixdata.cli.settings import LOCAL, examples
from matrixdata.errors import Conflict, MatrixDataError

if TYPE_CHECKING:
    from matrixdata.model import JSONObject

_SECONDS = 20.0
"""The publisher stops sending after so long, so that a slow machine shows the whole demo within a minute."""


@click.command(epilog=examples("matrixdata demo", "matrixdata demo --csv measurements.csv --rows 100"))
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Publish the rows of this file instead; one column must hold times.",
)
@click.option("--rows", type=click.IntRange(min=1), default=240, show_default=True, help="How many readings.")
@click.option("--no-plot", is_flag=True, help="Draw nothing.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("matrixdata-demo"),
    show_default=True,
    help="Where the plot and the Parquet file go.",
)
def demo(*, csv_file: Path | None, rows: int, no_plot: bool, output: Path) -> None:
    """See it work, on this machine alone.

    Starts a private homeserver, makes a collection with a schema, sends real readings from one process to
    another, and queries them. Takes less than a minute and leaves the data where the other commands, and
    md.connect("local"), find it. Run it again, and the collection grows by the next readings.
    """  # fmt: skip
    _check_extras(plots=not no_plot, vega=csv_file is None)
    began = time.monotonic()
    readings = from_csv(csv_file) if csv_file is not None else seattle()
    for note in readings.notes:
        say(note, label="note")
    have, room_id = _prepare(readings)
    _stream(readings, readings.stretch(have % len(readings.records), rows), room_id)
    _results(readings, output, plots=not no_plot)
    write(f"\nDone in {time.monotonic() - began:.0f} s. What to try next:\n")
    write("\n".join(f"  {line}" for line in _next(readings)))


def _check_extras(*, plots: bool, vega: bool) -> None:
    needed = {"pandas": True, "pyarrow": True, "matplotlib": plots, "vega_datasets": vega}
    missing = [name for name, is_needed in needed.items() if is_needed and find_spec(name) is None]
    if missing:
        raise MatrixDataError(
            f"the demo needs {', '.join(missing)}, not installed here: pip install 'matrixdata[all]'"
        )


def _prepare(readings: Readings) -> tuple[int, str]:
    """Server, collection and guest; how many records the collection has, and its room's id."""
    import matrixdata as md  # noqa: PLC0415  after the options were found fit

    began = time.monotonic()
    with md.connect(LOCAL) as client:
        write(
            f"1. The embedded homeserver answers at {client.homeserver} ({time.monotonic() - began:.1f} s)."
        )
        with advised(f"The demo names its collection {readings.name!r} after its data.", Conflict):
            collection = client.create_collection(
                readings.name, schema=readings.schema, time=_time(readings), exist_ok=True
            )
        collection.invite(f"@{SENDER}:{client.user_id.partition(':')[2]}")
        have = collection.query().count()
        write(
            f"2. The collection {readings.name!r} with its schema: {json_line(readings.schema['properties'])}"
        )
        if have:
            write(f"   It holds {have:,} readings of earlier runs; this one sends the next.")
        return have, collection.room_id


def _time(readings: Readings) -> str:
    required = readings.schema["required"]
    return str(required[0]) if isinstance(required, list) else ""


def _stream(readings: Readings, records: list[JSONObject], room_id: str) -> None:
    write(f"3. Two processes, two users: {readings.source}.")
    home = "matrixdata.cli.demo"
    with Process(f"{home}.subscriber", readings.name, _time(readings)) as subscriber:
        subscriber.until(READY, timeout=30)
        lines = [*records, readings.bad_record]
        with Process(f"{home}.publisher", room_id, str(_SECONDS), lines=lines) as publisher:
            subscriber.tell(publisher.until(SENT, timeout=_SECONDS + 25))
            publisher.finish(timeout=20)
        subscriber.finish(timeout=30)


def _results(readings: Readings, output: Path, *, plots: bool) -> None:
    import matrixdata as md  # noqa: PLC0415  as above
    from matrixdata.cli.demo import results  # noqa: PLC0415  as above

    with md.connect(LOCAL) as client:
        collection = client.collection(readings.name)
        query = collection.query(order="time")
        frame = query.to_pandas()
        write(f"4. The query: {len(frame):,} records, {query.completeness}. The newest by time:\n")
        write(results.last_rows(collection, readings))
        write(f"\n   In numbers:\n\n{results.statistics(frame)}\n")
        output.mkdir(parents=True, exist_ok=True)
        if plots:
            picture = results.plot(frame, readings, _time(readings), output / f"{readings.name}.png")
            write(f"   Plot:    {picture or 'none, as there is no numeric column'}")
        write(f"   Parquet: {query.to_parquet(output / f'{readings.name}.parquet')}")


def _next(readings: Readings) -> list[str]:
    """Commands that work as they stand, in this shell and directory."""
    from matrixdata import default_profile  # noqa: PLC0415  it costs more than --help

    program = _program()
    account = f" --profile {LOCAL}" if default_profile() is not None else ""
    name = shlex.quote(readings.name)
    record = shlex.quote(json_line(readings.records[0]))
    column = list(readings.records[0])[-1]
    code = f'import matrixdata as md; print(md.connect("local").collection("{readings.name}").query().to_pandas())'
    return [
        f"{program} query {name}{account} --order {shlex.quote('-' + column)} --limit 5",
        f"{program} subscribe {name}{account} --start all --count 3",
        f"{program} publish {name}{account} {record}",
        f"{_shown(Path(sys.executable))} -c {shlex.quote(code)}",
        f"{program} server stop    # it goes on running until then",
    ]


def _program() -> str:
    script = Path(sys.argv[0])
    found = shutil.which("matrixdata")
    if found is not None and script.exists() and Path(found).samefile(script):
        return "matrixdata"
    return (
        _shown(script) if script.name == "matrixdata" else f"{_shown(Path(sys.executable))} -m matrixdata.cli"
    )


def _shown(path: Path) -> str:
    """A program's path, the shorter way."""
    relative = os.path.relpath(path)
    return shlex.quote(relative if not relative.startswith("..") else str(path))
