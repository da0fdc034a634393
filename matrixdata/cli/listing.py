"""`matrixdata collections`: which there are, under which names."""

from __future__ import annotations

import dataclasses

import click

from matrixdata.cli.rows import show_rows
from matrixdata.cli.settings import account_options, connect, examples

_COLUMNS = ("name", "room_id", "members", "encrypted", "claimed_name")


@click.command(epilog=examples("matrixdata collections", "matrixdata collections --json"))
@account_options
def collections() -> None:
    """List your collections: names you gave, and rooms you are in that say they are one.

    The claimed name is what a room's owner calls it. It means nothing by itself: open such a room by its id.
    """
    with connect() as client:
        rows = [dataclasses.asdict(info) for info in client.collections()]
    show_rows(rows, _COLUMNS, none="no collections; `matrixdata create NAME` makes one")
