"""Secrets that commands need: from a file, the environment or a prompt; never from arguments, which all can read."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

import click

from matrixdata.model.hidden import HiddenText

if TYPE_CHECKING:
    from pathlib import Path


def entered(
    what: str, *, variable: str, file: Path | None, option: str = "--file", again: bool = False
) -> HiddenText:
    """A secret of the user's.

    Args:
        what: what is asked for, in words.
        variable: the environment variable that may hold it.
        file: a file whose first line is it; must be readable by its owner alone.
        option: what the file was named with.
        again: ask twice, since nobody can tell a mistyped one later.
    """
    if file is not None:
        return _from_file(file)
    given = os.environ.get(variable)
    if given:
        return HiddenText(given)
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"cannot ask for {what} without a terminal: give it in the environment variable {variable} or with "
            f"{option}",
            click.get_current_context(),
        )
    return HiddenText(click.prompt(what, hide_input=True, err=True, confirmation_prompt=again))


def _from_file(file: Path) -> HiddenText:
    with file.open(encoding="utf-8") as opened:
        mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
        if os.name == "posix" and mode & 0o077:
            raise click.UsageError(
                f"others can read {file} (mode {mode:04o}); make it yours alone: chmod 600 {file}",
                click.get_current_context(),
            )
        return HiddenText(opened.readline().rstrip("\r\n"))
