"""Groups of commands that are imported when called, and the edge at which every error becomes a message.

Nothing here knows a single command, or the library beyond its errors.
"""

from __future__ import annotations

import difflib
import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click

from matrixdata.cli.failures import silence_stdout, told
from matrixdata.cli.logs import log_on_stderr
from matrixdata.cli.output import warnings_on_stderr

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Lazy(click.Command):
    """Stands for a command in lists and help until it is called for."""

    def __init__(self, name: str, home: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self._home = home

    def load(self) -> click.Command:
        """The command itself, which its module holds under its own name."""
        command: click.Command = getattr(import_module(self._home), self.name or "")
        return command


class Group(click.Group):
    """A group whose commands keep the order they are given in, and which knows what you meant to type."""

    def __init__(self, *arguments: Any, lazy: Sequence[Lazy] = (), **options: Any) -> None:  # noqa: ANN401  click's
        super().__init__(*arguments, **options)
        self.commands.update({command.name or "": command for command in lazy})

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  the signature is click's
        """Names in the order given."""
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now if it was not yet."""
        command = super().get_command(ctx, cmd_name)
        return command.load() if isinstance(command, Lazy) else command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's
        """The list of commands, from what is known without importing any."""
        rows = [(name, command.get_short_help_str(limit=90)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion where there is no such command."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], self.commands, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(self.commands)}"
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


class Main(Group):
    """The outermost group: runs a command line and ends the process with its exit code."""

    def main(  # type: ignore[override]  # never returns a result: nobody calls a console script for one
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **options: Any,  # noqa: ANN401  click's
    ) -> NoReturn:
        """Run. Every outcome becomes an exit code: 0, 1, 2, or 130 after Ctrl-C."""
        _print_anything()
        options["standalone_mode"] = False  # click then leaves errors to us, and returns the code of --help
        with warnings_on_stderr(), log_on_stderr():
            try:
                code = super().main(args, prog_name, **options)
                sys.stdout.flush()
            except BrokenPipeError:
                silence_stdout()
                code = 0
            except Exception as error:  # noqa: BLE001  the edge: whatever went wrong, a message and a code
                code = told(error)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  click's
        """Run the command; whoever closed our output has seen enough, which is no failure."""
        with _closed_pipe_is_fine(ctx):
            return super().invoke(ctx)


@contextmanager
def _closed_pipe_is_fine(ctx: click.Context) -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # before click sees it, to whom it is a failure
        silence_stdout()
        ctx.exit(0)


def _print_anything() -> None:
    """A terminal that knows few characters gets the others escaped, instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
