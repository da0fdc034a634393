"""`matrixdata publish`: one record from the command line, or many from a file or a pipe."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from matrixdata.cli import lines
from matrixdata.cli.failures import FAILED, used_wrongly
from matrixdata.cli.output import say, write, write_json
from matrixdata.cli.settings import account_options, connect, current, examples, is_local
from matrixdata.errors import NotFound, RecordInvalid, TooLarge
from matrixdata.protocol.strict import loads

if TYPE_CHECKING:
    from collections.abc import Iterator

    import matrixdata as md
    from matrixdata.cli.lines import Found
    from matrixdata.cli.outcomes import Milestone


@click.command(
    epilog=examples(
        'matrixdata publish greenhouse \'{"device": "d1", "temp": 21.5}\'',
        "matrixdata publish greenhouse readings.jsonl",
        "sensor-program | matrixdata publish greenhouse -",
        "sensor-program | matrixdata publish greenhouse - --linger 5",
        "matrixdata publish greenhouse archive.jsonl --job archive",
    )
)
@click.argument("name")
@click.argument("data", metavar="[JSON|FILE|-]", required=False)
@click.option(
    "--wait",
    type=click.Choice(["queued", "sent", "synced"]),
    default="sent",
    show_default=True,
    help="Until it is safe on this machine, acknowledged by the server, or back in the replica.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=10,
    show_default=True,
    help="Seconds to wait for that; what is not sent by then is sent later.",
)
@click.option("--uid", help="Your own id for one record, so that publishing it twice counts once.")
@click.option("--job", help="A name for this import: run again after a crash, it goes on where it stopped.")
@click.option(
    "--linger",
    type=click.FloatRange(min=0, max=3600),
    default=0,
    show_default=True,
    help="Seconds that a record waits for others, to leave in one event with them; until then a crash loses it.",
)
@click.option(
    "--on-error",
    type=click.Choice(["continue", "stop"]),
    default="continue",
    show_default=True,
    help="What to do after a record that is refused.",
)
@account_options
def publish(
    name: str,
    *,
    data: str | None,
    wait: Milestone,
    timeout: float,
    uid: str | None,
    job: str | None,
    linger: float,
    on_error: Literal["continue", "stop"],
) -> None:
    """Publish records to the collection NAME.

    Give a JSON object, a file (.json, .jsonl, .ndjson), or - for JSON Lines from standard input, each of
    which is published as it comes, or with others within --linger seconds.

    A record that is refused is reported with its line and the place in it; the others are published, and
    the exit code is 1. Accepted records are safe on this machine and are sent later if need be, so publishing
    again is never needed.

    On the embedded homeserver, where you have no collection at all yet, NAME is made for you.
    """
    if data is None and sys.stdin.isatty():
        raise click.UsageError("give a JSON object, a file, or - to read standard input", _context())
    if data is not None and data.lstrip().startswith("{"):
        if job is not None:
            raise click.UsageError("--job is for many records, from a file or a pipe", _context())
        _publish_one(name, data, wait=wait, timeout=timeout, uid=uid)
        return
    if uid is not None:
        raise click.UsageError("--uid is for one record, given as JSON", _context())
    with _source(data) as (found, unit), connect() as client:
        collection = _opened(client, name)
        if job is not None:
            if on_error == "stop":
                raise click.UsageError(
                    "--job publishes what can be published; leave --on-error out", _context()
                )
            good = _import(collection, found, unit, job=job, wait=wait, timeout=timeout)
        else:
            good = _publish_all(
                collection, found, unit, wait=wait, timeout=timeout, stop=on_error == "stop", linger=linger
            )
        if not good:
            _context().exit(FAILED)


def _context() -> click.Context:
    return click.get_current_context()


def _opened(client: md.Client, name: str) -> md.Collection:
    """The collection NAME. Where there is none at all yet, on a server of one's own, the first one is made."""
    try:
        return client.collection(name)
    except NotFound:
        if name[:1] in {"!", "#"} or not is_local(client.profile) or client.collections():
            raise
    say(
        f"made the collection {name!r}, your first, encrypted and without a schema; "
        "`matrixdata create` makes others as you want them",
        label="note",
    )
    return client.create_collection(name)


def _publish_one(name: str, text: str, *, wait: Milestone, timeout: float, uid: str | None) -> None:
    record: Any = loads(text)
    with connect() as client, used_wrongly():
        receipt = _opened(client, name).publish(record, wait=wait, timeout=timeout, uid=uid)
        if current().as_json:
            write_json({"uid": receipt.uid, "event_id": receipt.event_id, "state": receipt.state})
        else:
            write(" ".join([receipt.state, receipt.event_id or receipt.uid]))
        if receipt.state == "queued" and wait != "queued":
            say("the server did not answer in time; it is safe here and is sent later", label="note")


@contextmanager
def _source(data: str | None) -> Iterator[tuple[Iterator[Found], str]]:
    """Where records come from, and what to call each of their places."""
    if data is None or data == "-":
        yield lines.json_lines(sys.stdin.buffer), "line"
        return
    path = Path(data)
    kind = path.suffix.lower()
    if kind not in {".json", *lines.LINES}:
        raise click.UsageError(
            f"{data!r} is neither a JSON object nor a file that can be read here: "
            "files end in .json, .jsonl or .ndjson",
            _context(),
        )
    if kind == ".json":
        yield lines.json_document(path), "record"
        return
    with path.open("rb") as file:
        yield lines.json_lines(file), "line"


def _import(
    collection: md.Collection,
    found: Iterator[Found],
    unit: str,
    *,
    job: str,
    wait: Milestone,
    timeout: float,
) -> bool:
    from matrixdata.cli.job import Import  # noqa: PLC0415  only imports need it

    with used_wrongly():
        return Import(found, unit).run(collection, job, wait=wait, timeout=timeout)


def _publish_all(
    collection: md.Collection,
    found: Iterator[Found],
    unit: str,
    *,
    wait: Milestone,
    timeout: float,
    stop: bool,
    linger: float,
) -> bool:
    """Publish what is found; True if nothing of it was refused."""
    # Late: one record on the command line needs no threads.
    from matrixdata.cli.outcomes import Outcomes  # noqa: PLC0415  as said above

    outcomes = Outcomes(wait=wait, timeout=timeout, as_json=current().as_json)
    # While it subscribes, a client follows the room; otherwise nothing would ever come back.
    following = collection.subscribe() if wait == "synced" else nullcontext()
    publisher = collection.publisher(linger=linger, size=500, timeout=0) if linger else nullcontext()
    with following, outcomes, publisher as stream:
        for number, record in found:
            try:
                if isinstance(record, RecordInvalid):
                    raise record
                receipt = (
                    stream.publish(record)  # type: ignore[arg-type]  # it checks
                    if stream is not None
                    else collection.publish(record, wait="queued")  # type: ignore[arg-type]  # it checks
                )
                outcomes.add(number, receipt)
            except (RecordInvalid, TooLarge) as error:
                outcomes.refuse(f"{unit} {number}", error)
                if stop:
                    break
    return outcomes.good
