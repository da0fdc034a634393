"""`matrixdata subscribe`: print records as they arrive."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import TYPE_CHECKING

import click

from matrixdata.cli.failures import FAILED, used_wrongly
from matrixdata.cli.output import say, write_json
from matrixdata.cli.records import whole
from matrixdata.cli.settings import account_options, connect, examples

if TYPE_CHECKING:
    import matrixdata as md


def _start(ctx: click.Context, param: click.Parameter, value: str) -> str | datetime:
    if value in {"new", "all"}:
        return value
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        problem = f"{value!r} is neither new, nor all, nor a time such as 2026-01-01T00:00:00Z"
        raise click.BadParameter(problem, ctx, param) from None
    if time.tzinfo is None:
        raise click.BadParameter(f"{value!r} has no time zone; end it with Z for UTC, or +02:00", ctx, param)
    return time


@click.command(
    epilog=examples(
        "matrixdata subscribe greenhouse",
        "matrixdata subscribe greenhouse --start all --timeout 5",
        "matrixdata subscribe greenhouse --cursor job-1 | my-program",
    )
)
@click.argument("name")
@click.option(
    "--start",
    metavar="new|all|TIME",
    callback=_start,
    default="new",
    show_default=True,
    help="From which record on.",
)
@click.option("--cursor", metavar="CURSOR", help="Remember under this name how far it got, and go on there.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many records.")
@click.option("--timeout", type=click.FloatRange(min=0), help="End when none came for so many seconds.")
@click.option("--meta", is_flag=True, help="Sender, time, event id, uid and position with each value.")
@account_options
def subscribe(
    name: str,
    *,
    start: str | datetime,
    cursor: str | None,
    count: int | None,
    timeout: float | None,
    meta: bool,
) -> None:
    """Print the records of the collection NAME as JSON Lines, each as soon as it is here.

    Ends with --count or --timeout, or by Ctrl-C. If --count was given and fewer came, the exit code is 1.
    """
    with connect() as client:
        collection = client.collection(name)
        with used_wrongly():
            subscription = collection.subscribe(start=start, cursor=cursor)  # type: ignore[arg-type]  # by _start
        with subscription:
            say(f"listening to {collection.name}")
            for got in itertools.count():
                if got == count:
                    return
                try:
                    record: md.Record = subscription.get(timeout=timeout)
                except TimeoutError:
                    break
                write_json(whole(record) if meta else record.value)
    if count is not None:
        say(f"{got} of {count} records came, and then none for {timeout:g} s", label="error")
        click.get_current_context().exit(FAILED)
