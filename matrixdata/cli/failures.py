"""Turns errors into what a person at a terminal needs: one message, an exit code, no traceback."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from matrixdata.cli.output import say
from matrixdata.errors import MatrixDataError, SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def told(error: Exception) -> int:
    """Say what went wrong on stderr; return the exit code."""
    if isinstance(error, click.Abort):
        return INTERRUPTED
    if debugging():
        traceback.print_exception(error)
    if isinstance(error, click.UsageError):
        say(error.format_message(), label="error")
        if error.ctx is not None:
            say(f"`{error.ctx.command_path} --help` shows how it is used")
        return USAGE
    say(message_of(error), label="error")
    return FAILED


def message_of(error: Exception) -> str:
    """What an error says, with its notes."""
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    elif isinstance(error, (MatrixDataError, OSError)):
        text = str(error)
    else:
        text = (
            f"unexpected {type(error).__name__}: {error}\n"
            "This is a mistake of ours. Set MATRIXDATA_DEBUG=1 to see where, and please report it."
        )
    return "\n".join([text, *getattr(error, "__notes__", ())])


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get("MATRIXDATA_DEBUG", "") not in {"", "0"}


@contextmanager
def used_wrongly() -> Iterator[None]:
    """Around a call with the user's own arguments: what the library refuses as an argument is wrong usage."""
    try:
        yield
    except SqlError as error:  # found wrong as it was given, before anything was read
        raise click.UsageError(message_of(error), click.get_current_context()) from error
    except MatrixDataError:
        raise
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error), click.get_current_context()) from error


@contextmanager
def advised(advice: str, *kinds: type[MatrixDataError]) -> Iterator[None]:
    """Add to errors of some kinds how the command line says what they advise in Python."""
    try:
        yield
    except kinds as error:
        error.add_note(advice)
        raise


def silence_stdout() -> None:
    """Nobody reads it any more: let what is still buffered go nowhere, without a word at exit."""
    with suppress(OSError, ValueError):  # in tests it is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
