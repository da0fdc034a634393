"""What commands print: JSON Lines and results on stdout, everything else on stderr; all of it inert.

Text from others may hold terminal commands, so nothing unprintable leaves here unescaped.
"""

from __future__ import annotations

import json
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from matrixdata.errors import IncompleteWarning
from matrixdata.model.problem import safe_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matrixdata.model import JSON


def json_line(value: JSON) -> str:
    """One line of JSON, readable where it is printable and escaped where not; it reads back equal."""
    text = json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1] if ord(character) > 0x7F else f"\\u{ord(character):04x}"


def write_json(value: JSON) -> None:
    """Print one line of JSON, in UTF-8 as JSON is (RFC 8259, section 8.1), at once.

    Raises:
        BrokenPipeError: nobody reads stdout any more.
    """
    click.echo(json_line(value).encode() + b"\n", nl=False)


def write(text: str) -> None:
    """Print a result for people; each line made inert."""
    click.echo(inert(text))


def say(text: str, *, label: str = "") -> None:
    """Tell something beside the result, on stderr: `label: text`."""
    click.echo(f"{label}: {inert(text)}" if label else inert(text), err=True)


def inert(text: str) -> str:
    """Text whose lines cannot command a terminal."""
    return "\n".join(safe_text(line) for line in text.split("\n"))


def on_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Print Python's warnings as lines of the form `warning: …`; those about missing rows always."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        say(str(message), label="warning")

    with warnings.catch_warnings():
        warnings.showwarning = show
        warnings.simplefilter("always", IncompleteWarning)
        yield


class Progress:
    """A line on stderr that is written over as things go on; silent where no person sees it."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._length = 0

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._shown:
            click.echo(f"\r{text.ljust(self._length)}", err=True, nl=False)
            self._length = len(text)

    def clear(self) -> None:
        """Remove the line, so that something else can be printed."""
        if self._shown and self._length:
            click.echo(f"\r{' ' * self._length}\r", err=True, nl=False)
            self._length = 0
