"""The command line: one file a command group, on the public API alone.

`main` is the console script. A command's file is imported when the command is called, so this one stays light.
"""

from __future__ import annotations

import click

from matrixdata.cli.group import Lazy, Main
from matrixdata.cli.settings import account_options, examples, version_option

__all__ = ["main"]

# name: (the file it lives in, what the list of commands says of it)
_COMMANDS = {
    "demo": ("demo", "See it work: a server on this machine, a publisher, a subscriber, a query."),
    "server": ("server", "Install, start and stop the embedded homeserver."),
    "login": ("login", "Log in to a homeserver and remember it."),
    "logout": ("login", "End a saved login."),
    "create": ("create", "Make a collection."),
    "publish": ("publish", "Publish records to a collection."),
    "subscribe": ("subscribe", "Print records as they arrive."),
    "query": ("query", "Show, count or save the records of a collection."),
    "sql": ("sql", "Run one SELECT over your collections."),
    "collections": ("listing", "List your collections."),
    "outbox": ("outbox", "List, retry or cancel what waits to be sent."),
    "keys": ("keys", "Keys for end-to-end encryption: how they are, recovery, backup, devices."),
    "verify": ("verify", "Compare short strings with somebody, or another device of yours."),
    "status": ("status", "Say how the account is doing."),
    "doctor": ("doctor", "Check this installation, and say what to do."),
    "completion": ("completion", "Print a script that completes commands in your shell."),
}


@click.group(
    cls=Main,
    lazy=[Lazy(name, f"matrixdata.cli.{file}", short_help) for name, (file, short_help) in _COMMANDS.items()],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=examples(
        "matrixdata demo",
        "matrixdata create greenhouse --no-encrypt",
        'matrixdata publish greenhouse \'{"device": "d1", "temp": 21.5}\'',
        "matrixdata query greenhouse --where 'temp>20'",
    ),
)
@version_option
@account_options
def main() -> None:
    """Matrix rooms as synced, schema-validated JSON collections.

    Commands use the account of --profile, else the login you saved as the default, else a private homeserver
    on this machine, which is started when needed. On a terminal they print tables, in a pipe JSON Lines.
    Exit codes: 0 done, 1 failed, 2 used wrongly.
    """
