"""`matrixdata outbox`: what was accepted and has not been seen to arrive; mend it, or drop it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from matrixdata.cli.failures import FAILED, advised
from matrixdata.cli.group import Group
from matrixdata.cli.output import say, write, write_json
from matrixdata.cli.rows import show_rows
from matrixdata.cli.settings import account_options, connect, current, examples
from matrixdata.errors import Conflict, NotFound, Unknown

if TYPE_CHECKING:
    from datetime import datetime

    import matrixdata as md
    from matrixdata.collection import OutboxEntry
    from matrixdata.model import JSONObject

_COLUMNS = ("uid", "state", "reason", "attempts", "next_attempt", "accepted", "value", "room_id")
_ADVICE = "On the command line: matrixdata outbox list"
_LOOK_EVERY = 0.05


@click.group(
    cls=Group,
    invoke_without_command=True,
    epilog=examples(
        "matrixdata outbox", "matrixdata outbox retry reading-5", "matrixdata outbox cancel reading-5"
    ),
)
@account_options
@click.pass_context
def outbox(ctx: click.Context) -> None:
    """Records that were accepted and have not been seen to arrive. Without a command: list them.

    A stuck one was refused by the server. It is kept until you retry or cancel it.
    """
    if ctx.invoked_subcommand is None:
        _show()


@outbox.command("list", epilog=examples("matrixdata outbox list", "matrixdata outbox list --json"))
@account_options
def show() -> None:
    """List them, in the order of acceptance."""
    _show()


@outbox.command(epilog=examples("matrixdata outbox retry reading-5"))
@click.argument("uid")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Seconds to wait for what becomes of it.",
)
@account_options
def retry(uid: str, *, timeout: float) -> None:
    """Send the stuck record UID again, once what was wrong has been mended. Exit code 1 if it gets stuck again."""
    with connect() as client:
        with advised(_ADVICE, NotFound):
            client.outbox.retry(uid)
        found = _outcome(client, uid, timeout)
    state, reason = (found.state, found.reason) if found is not None else ("synced", None)
    if current().as_json:
        write_json({"uid": uid, "state": state, "reason": reason})
    else:
        write(f"{uid}: {state}" + (f" ({reason})" if reason else ""))
    if state == "stuck":
        say("it was refused again; `matrixdata outbox cancel` drops it for good", label="error")
        click.get_current_context().exit(FAILED)
    if state == "queued":
        say("it is sent by the next command", label="note")


@outbox.command(epilog=examples("matrixdata outbox cancel reading-5"))
@click.argument("uid")
@account_options
def cancel(uid: str) -> None:
    """Drop the record UID for good: a stuck one, or one that is surely not on the server yet."""
    with connect() as client, advised(_ADVICE, NotFound, Conflict, Unknown):
        client.outbox.cancel(uid)
    if current().as_json:
        write_json({"uid": uid, "state": "cancelled"})
    else:
        write(f"{uid}: cancelled")


def _show() -> None:
    with connect() as client:
        rows = [_row(entry) for entry in client.outbox.list()]
    show_rows(rows, _COLUMNS, none="nothing waits: all that was published has arrived")


def _row(entry: OutboxEntry) -> JSONObject:
    return {
        "uid": entry.uid,
        "state": entry.state,
        "reason": entry.reason,
        "attempts": entry.attempts,
        "first_attempt": _text(entry.first_attempt),
        "last_attempt": _text(entry.last_attempt),
        "next_attempt": _text(entry.next_attempt),
        "accepted": _text(entry.accepted),
        "value": entry.value,
        "room_id": entry.room_id,
    }


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment is not None else None


def _outcome(client: md.Client, uid: str, timeout: float) -> OutboxEntry | None:
    """The record once it is on its way no more, or after `timeout` seconds; None when it arrived."""
    end = time.monotonic() + timeout
    while True:
        found = next((entry for entry in client.outbox.list() if entry.uid == uid), None)
        if found is None or found.state != "queued" or time.monotonic() >= end:
            return found
        time.sleep(_LOOK_EVERY)
