"""`matrixdata doctor`: look at everything a command needs, change nothing, and say what to do."""

from __future__ import annotations

import dataclasses

import click

from matrixdata.cli.failures import FAILED
from matrixdata.cli.output import write, write_json
from matrixdata.cli.settings import account_options, current, examples, saved_profile


@click.command(epilog=examples("matrixdata doctor", "matrixdata doctor --profile lab --json"))
@account_options
def doctor() -> None:
    """Check this installation, the account that commands use, and its server. Nothing is changed or started.

    Each line is ok, warn or fail, and says what to do. Exit code 1 if anything fails. The databases are read
    through, which takes longer the more was received.
    """
    from matrixdata.cli.checks import findings  # noqa: PLC0415  it costs more than --help

    failed = False
    for finding in findings(saved_profile(current())):
        failed |= finding.level == "fail"
        if current().as_json:
            write_json(dataclasses.asdict(finding))
        else:
            level = click.style(finding.level.ljust(4), fg=_COLOURS[finding.level])
            # Only our own word is coloured: what is found is made inert.
            click.echo(f"{level}  ", nl=False)
            write(
                f"{finding.what}: {finding.found}" + (f"\n      {finding.advice}" if finding.advice else "")
            )
    if failed:
        click.get_current_context().exit(FAILED)


_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
