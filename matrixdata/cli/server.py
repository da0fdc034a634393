"""`matrixdata server`: install, start, stop and look at the embedded homeserver of this user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from matrixdata.cli.failures import FAILED
from matrixdata.cli.group import Group
from matrixdata.cli.output import say, write, write_json
from matrixdata.cli.settings import account_options, current, examples

if TYPE_CHECKING:
    from matrixdata.homeserver import ServerStatus
    from matrixdata.model import JSONObject


@click.group(cls=Group, epilog=examples("matrixdata server start", "matrixdata server status"))
def server() -> None:
    """The embedded homeserver: a private Synapse on this machine, in a directory of yours.

    Commands that need it start it; it then stays until you stop it.
    """


@server.command()
@click.option("--upgrade", is_flag=True, help="Take the newest release even if one is there.")
@account_options
def install(*, upgrade: bool) -> None:
    """Put Synapse into an environment of its own (240 MB, half a minute)."""
    from matrixdata import homeserver  # noqa: PLC0415  it costs more than --help
    from matrixdata.connect.paths import server_environment  # noqa: PLC0415  as above

    python = homeserver.install(server_environment(), report=say, upgrade=upgrade)
    if current().as_json:
        write_json({"python": str(python)})


@server.command()
@account_options
def start() -> None:
    """Start it, or find it running."""
    from matrixdata import homeserver  # noqa: PLC0415  it costs more than --help
    from matrixdata.connect.paths import server_directory, server_environment  # noqa: PLC0415  as above

    address = homeserver.start(server_directory(), environment=server_environment())
    if current().as_json:
        write_json({"url": address.url, "name": address.name, "pid": address.pid, "started": address.new})
    else:
        write(f"{'started' if address.new else 'already running'}: {address.url}, process {address.pid}")


@server.command()
@account_options
def status() -> None:
    """Say whether it runs. Exit code 0 if so, 1 if not."""
    from matrixdata import homeserver  # noqa: PLC0415  it costs more than --help
    from matrixdata.connect.paths import server_directory  # noqa: PLC0415  as above

    found = homeserver.status(server_directory())
    facts = _facts(found)
    if current().as_json:
        write_json(facts)
    else:
        width = max(map(len, facts))
        write(
            "\n".join(f"{key.ljust(width)}  {item}" for key, item in facts.items() if item not in {"", None})
        )
    if not found.running:
        click.get_current_context().exit(FAILED)


def _facts(found: ServerStatus) -> JSONObject:
    state = "stopped" if not found.running else "running" if found.answering else "not answering"
    facts: JSONObject = {"state": state, "directory": str(found.directory), "name": found.name}
    if found.running:
        facts |= {
            "url": found.url,
            "pid": found.pid,
            "version": found.version,
            "limits": found.limits,
            "started": found.started.isoformat(timespec="seconds") if found.started else None,
        }
    return facts


@server.command()
@account_options
def stop() -> None:
    """End it. Its data stays."""
    from matrixdata import homeserver  # noqa: PLC0415  it costs more than --help
    from matrixdata.connect.paths import server_directory  # noqa: PLC0415  as above

    ended = homeserver.stop(server_directory())
    if current().as_json:
        write_json({"stopped": ended})
    else:
        write("stopped" if ended else "it was not running")
