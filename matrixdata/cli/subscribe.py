"""`matrixdata subscribe`: print records as they arrive."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from matrixdata.cli.failures import FAILED, used_wrongly
from matrixdata.cli.output import say, write_json
from matrixdata.cli.records import told, whole
from matrixdata.cli.settings import account_options, connect, examples
from matrixdata.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    import matrixdata as md
    from matrixdata.receiving import Overflow


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


def _records(subscription: md.Subscription, timeout: float | None) -> Iterator[Record]:
    while True:
        yield subscription.get(timeout=timeout)


@click.command(
    epilog=examples(
        "matrixdata subscribe greenhouse",
        "matrixdata subscribe greenhouse --start all --timeout 5",
        "matrixdata subscribe greenhouse --cursor job-1 | my-program",
        "matrixdata subscribe greenhouse --events",
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
@click.option(
    "--events", is_flag=True, help="Also what is to be known of the stream: outages, gaps, invalid records."
)
@click.option(
    "--buffer", type=click.IntRange(min=1), default=500, show_default=True, help="Records held ready."
)
@click.option(
    "--overflow",
    type=click.Choice(["block", "drop_oldest", "error"]),
    default="block",
    show_default=True,
    help="When more wait: leave them in the replica, skip the oldest, or end.",
)
@click.option("--meta", is_flag=True, help="Sender, time, event id, uid and position with each value.")
@account_options
def subscribe(
    name: str,
    *,
    start: str | datetime,
    cursor: str | None,
    count: int | None,
    timeout: float | None,
    events: bool,
    buffer: int,
    overflow: Overflow,
    meta: bool,
) -> None:
    """Print the records of the collection NAME as JSON Lines, each as soon as it is here.

    Ends with --count or --timeout, or by Ctrl-C. If --count was given and fewer came, the exit code is 1.

    With --events each line says in "item" what it is: a Record, with all of --meta, or one of CaughtUp,
    Reconnected, Rebuilt, Gap, GapFilled, Invalid, Redacted and Dropped.
    """
    with connect() as client:
        collection = client.collection(name)
        with used_wrongly():
            subscription = collection.subscribe(
                start=start,  # type: ignore[arg-type]  # by _start
                cursor=cursor,
                buffer=buffer,
                overflow=overflow,
            )
        with subscription:
            say(f"listening to {collection.name}")
            got = 0
            items = subscription.events(timeout=timeout) if events else _records(subscription, timeout)
            while got != count:
                try:
                    item = next(items)
                except TimeoutError:
                    break
                if events:
                    write_json(told(item))
                elif isinstance(item, Record):
                    write_json(whole(item) if meta else item.value)
                got += isinstance(item, Record)
            else:
                return
    if count is not None:
        say(f"{got} of {count} records came, and then none for {timeout:g} s", label="error")
        click.get_current_context().exit(FAILED)
