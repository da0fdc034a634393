"""The options that every command has, and the account they choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from matrixdata.cli.failures import advised, used_wrongly
from matrixdata.cli.logs import log_more
from matrixdata.cli.output import on_terminal, say
from matrixdata.errors import NotFound

if TYPE_CHECKING:
    import matrixdata as md

F = TypeVar("F", bound=Callable[..., Any])

LOCAL = "local"


@dataclass(slots=True)
class Settings:
    """What the options common to all commands say, whether given before the command or after it."""

    profile: str | None = None
    json: bool = False
    verbose: int = 0

    @property
    def as_json(self) -> bool:
        """JSON Lines instead of tables."""
        return self.json or not on_terminal()


def _store(ctx: click.Context, param: click.Parameter, value: Any) -> None:  # noqa: ANN401  any option's value
    settings = ctx.ensure_object(Settings)
    if value and param.name:
        setattr(settings, param.name, value)
    if param.name == "verbose":
        log_more(settings.verbose)


def account_options(command: F) -> F:
    """Give a command --profile, --json and -v; `current()` then has them."""
    for option in (
        click.option("-v", "--verbose", count=True, help="Say more on stderr; twice for all.",
                     expose_value=False, callback=_store),
        click.option("--json", is_flag=True, help="JSON Lines on a terminal too.",
                     expose_value=False, callback=_store),
        click.option("--profile", metavar="NAME", envvar="MATRIXDATA_PROFILE", expose_value=False, callback=_store,
                     help='Which login to use; "local" is the embedded homeserver, "local-NAME" another user there.'),
    ):  # fmt: skip
        command = option(command)
    return command


def examples(*commands: str) -> str:
    """The end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


def version_option(command: F) -> F:
    """Give the group --version, without asking the metadata of installed packages."""

    def show(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            from matrixdata import __version__  # noqa: PLC0415  one of many things an option may need

            click.echo(f"matrixdata {__version__}")
            ctx.exit()

    option = click.option(
        "--version", is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version."
    )
    return option(command)


def current() -> Settings:
    """The settings of the command that runs."""
    return click.get_current_context().ensure_object(Settings)


def saved_profile(settings: Settings) -> str | None:
    """The profile to use: the one asked for, else the default login; None if there is neither."""
    from matrixdata import default_profile  # noqa: PLC0415  it costs more than --help

    return settings.profile or default_profile()


def connect() -> md.Client:
    """The client of the account that the options choose."""
    import matrixdata as md  # noqa: PLC0415  it costs more than --help

    profile = saved_profile(current())
    if profile is None:
        _announce_local()
        return md.connect("local")
    if is_local(profile):
        return md.connect("local", user=profile.removeprefix(LOCAL).removeprefix("-") or None)
    with (
        advised(f"`matrixdata login URL --profile {profile}` logs in under that name", NotFound),
        used_wrongly(),
    ):
        return md.connect(profile=profile)


def is_local(profile: str) -> bool:
    """Whether a profile is one of the embedded homeserver, whose address must be looked up each time."""
    return profile == LOCAL or profile.startswith(f"{LOCAL}-")


def _announce_local() -> None:
    from matrixdata.connect.paths import server_directory  # noqa: PLC0415  as above

    if not server_directory().exists():
        say(
            "no saved login, so this uses a private homeserver on this machine, which is started now "
            "(`matrixdata login` uses another; `matrixdata server stop` ends it)",
            label="note",
        )
