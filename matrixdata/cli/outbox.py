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


@outbox.command(epilog=examples("matrixdata outbox retry reading-5", "matrixdata outbox retry --all"))
@click.argument("uid", required=False)
@click.option("--all", "every", is_flag=True, help="Every stuck record, of every collection.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Seconds to wait for what becomes of it.",
)
@account_options
def retry(uid: str | None, *, every: bool, timeout: float) -> None:
    """Send the stuck record UID again, once what was wrong has been mended. Exit code 1 if it gets stuck again."""
    if every is (uid is not None):
        raise click.UsageError("give the uid of one record, or --all", click.get_current_context())
    with connect() as client:
        chosen = [(each.room_id, each.uid) for each in client.outbox.list() if each.state == "stuck"]
        if uid is None:
            client.outbox.retry_all()
        else:
            with advised(_ADVICE, NotFound):
                client.outbox.retry(uid)
            chosen = [(room_id, each) for room_id, each in chosen if each == uid]
        states = _outcomes(client, chosen, timeout)
    for each, state, reason in states:
        if current().as_json:
            write_json({"uid": each, "state": state, "reason": reason})
        else:
            write(f"{each}: {state}" + (f" ({reason})" if reason else ""))
    _explain([state for _, state, _ in states])


def _explain(states: list[str]) -> None:
    if not states:
        say("no record is stuck", label="note")
    what = "it is" if len(states) == 1 else "those that are queued are"
    if "queued" in states:
        say(f"{what} sent by the next command", label="note")
    if "stuck" in states:
        say("refused again; `matrixdata outbox cancel` drops a record for good", label="error")
        click.get_current_context().exit(FAILED)


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


def _outcomes(
    client: md.Client, chosen: list[tuple[str, str]], timeout: float
) -> list[tuple[str, str, str | None]]:
    """Uid, state and reason of records once they are on their way no more, or after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        here = {(entry.room_id, entry.uid): entry for entry in client.outbox.list()}
        found = [here.get(key) for key in chosen]
        if time.monotonic() >= end or not any(each and each.state == "queued" for each in found):
            # What is in the outbox no more has arrived.
            return [
                (uid, each.state, each.reason) if each is not None else (uid, "synced", None)
                for (_, uid), each in zip(chosen, found, strict=True)
            ]
        time.sleep(_LOOK_EVERY)
