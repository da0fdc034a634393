"""`matrixdata create`: make a collection, with or without a schema."""

from __future__ import annotations

from pathlib import Path

import click

from matrixdata.cli.failures import advised, used_wrongly
from matrixdata.cli.output import write, write_json
from matrixdata.cli.settings import account_options, connect, current, examples
from matrixdata.errors import Conflict


@click.command(
    epilog=examples(
        "matrixdata create greenhouse --no-encrypt",
        "matrixdata create weather --schema weather.schema.json --time ts --no-encrypt",
    )
)
@click.argument("name")
@click.option(
    "--schema",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the JSON Schema that every record must satisfy.",
)
@click.option("--time", metavar="FIELD", help="The key of the records' own time.")
@click.option(
    "--time-unit",
    type=click.Choice(["iso", "s", "ms", "us", "ns"]),
    default="iso",
    show_default=True,
    help="How that time is written: RFC 3339 text, or numbers since 1970-01-01T00:00:00Z.",
)
@click.option("--public", is_flag=True, help="Let everybody who knows the room id join and read.")
@click.option("--invite", metavar="USER", multiple=True, help="Invite a user as a writer; repeatable.")
@click.option("--exist-ok", is_flag=True, help="It is fine if you have it already.")
@click.option("--encrypt/--no-encrypt", default=True, show_default=True, help="End-to-end encryption.")
@account_options
def create(
    name: str,
    *,
    schema: Path | None,
    time: str | None,
    time_unit: str,
    public: bool,
    invite: tuple[str, ...],
    exist_ok: bool,
    encrypt: bool,
) -> None:
    """Make a collection called NAME: a private room of yours, with a schema in it if you give one."""
    text = schema.read_text(encoding="utf-8") if schema is not None else None
    if public and encrypt:
        raise click.UsageError(
            "a public collection cannot be encrypted, for whoever joins could not read what is there already: add "
            "--no-encrypt"
        )
    with (
        connect() as client,
        used_wrongly(),
        advised("On the command line: --exist-ok", Conflict),
    ):
        collection = client.create_collection(
            name,
            schema=text,
            time=time,
            time_unit=time_unit,  # type: ignore[arg-type]  # click has checked the choice
            encrypted=encrypt,
            public=public,
            invite=invite,
            exist_ok=exist_ok,
        )
        if current().as_json:
            write_json(
                {"name": name, "room_id": collection.room_id, "encrypted": collection.encrypted},
            )
        else:
            write(f"{name}  {collection.room_id}")
