"""`matrixdata login` and `logout`. Secrets come by prompt, environment or file, never by argument."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from matrixdata.cli.failures import used_wrongly
from matrixdata.cli.output import say, write, write_json
from matrixdata.cli.settings import (
    LOCAL,
    account_options,
    connect,
    current,
    examples,
    is_local,
    saved_profile,
)

if TYPE_CHECKING:
    import matrixdata as md


@click.command(
    epilog=examples(
        "matrixdata login https://matrix.example.org --user ada",
        "matrixdata login https://matrix.example.org --user ada --profile lab --no-default",
    )
)
@click.argument("url")
@click.option("--user", help="Matrix user id, such as @ada:example.org, or the part before the colon.")
@click.option(
    "--default/--no-default",
    default=None,
    help="Make it the login that is used without --profile; the first one becomes it by itself.",
)
@click.option("--password-file", type=click.Path(path_type=Path), help="A file of yours alone (mode 0600).")
@click.option("--insecure", is_flag=True, help="Allow plain http to another machine.")
@account_options
def login(
    url: str, *, user: str | None, default: bool | None, password_file: Path | None, insecure: bool
) -> None:
    """Log in to the homeserver at URL and remember the session on this machine.

    URL is the homeserver's address, or the name that user ids end in (example.org), by which it is found.

    The password is asked for, unless the environment has MATRIXDATA_PASSWORD or --password-file names a
    file that holds it. An access token is taken from MATRIXDATA_TOKEN. There is no option for either: the
    arguments of a command can be read by every user of the machine.
    """
    profile = current().profile
    if url == LOCAL or (profile is not None and is_local(profile)):
        raise click.UsageError(
            "the embedded homeserver needs no login; commands use it with --profile local",
            click.get_current_context(),
        )
    token = os.environ.get("MATRIXDATA_TOKEN") if password_file is None else None
    if token:
        name, user_id, address = _with_token(url, user, token, profile, insecure=insecure)
    else:
        user = user or (url if url.startswith("@") else _asked("your user id"))
        name, user_id, address = _with_password(
            url, user, _password(user, password_file), profile, insecure=insecure
        )
    is_default = _remember(name, default=default)
    if current().as_json:
        write_json({"user_id": user_id, "homeserver": address, "profile": name, "default": is_default})
    else:
        write(
            f"logged in as {user_id} at {address}, profile {name}" + (" (the default)" if is_default else "")
        )


def _with_token(
    url: str, user: str | None, token: str, profile: str | None, *, insecure: bool
) -> tuple[str, str, str]:
    import matrixdata as md  # noqa: PLC0415  after the arguments were found fit

    with used_wrongly():
        client = md.connect(url, user=user, token=token, profile=profile, insecure=insecure)
    with client:
        _say_what_waits(client)
        return client.profile, client.user_id, client.homeserver


def _with_password(
    url: str, user: str, password: str, profile: str | None, *, insecure: bool
) -> tuple[str, str, str]:
    import matrixdata as md  # noqa: PLC0415  after the arguments were found fit

    with used_wrongly():
        client = md.connect(url, user=user, password=password, profile=profile, insecure=insecure)
    with client:
        _say_what_waits(client)
        return client.profile, client.user_id, client.homeserver


def _say_what_waits(client: md.Client) -> None:
    """What the outbox holds, for it outlives logins."""
    if queued := client.status().queued:
        records = "1 record waits" if queued == 1 else f"{queued:,} records wait"
        say(f"{records} here to be sent, which a command or program does that is logged in", label="note")


def _remember(profile: str, *, default: bool | None) -> bool:
    """Make a profile the default if wanted, or if there is none; whether it is the default now."""
    import matrixdata as md  # noqa: PLC0415  as above

    if default or (default is None and md.default_profile() is None):
        md.set_default_profile(profile)
    return md.default_profile() == profile


def _password(user: str, file: Path | None) -> str:
    if file is not None:
        return _from_file(file)
    return os.environ.get("MATRIXDATA_PASSWORD") or _asked(f"password of {user}", hidden=True)


def _from_file(file: Path) -> str:
    with file.open(encoding="utf-8") as opened:
        mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
        if os.name == "posix" and mode & 0o077:
            raise click.UsageError(
                f"others can read {file} (mode {mode:04o}); make it yours alone: chmod 600 {file}",
                click.get_current_context(),
            )
        return opened.readline().rstrip("\r\n")


def _asked(what: str, *, hidden: bool = False) -> str:
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"cannot ask for {what} without a terminal: give --user, and the password in the environment "
            "variable MATRIXDATA_PASSWORD or with --password-file",
            click.get_current_context(),
        )
    return str(click.prompt(what, hide_input=hidden, err=True))


@click.command(epilog=examples("matrixdata logout", "matrixdata logout --profile lab"))
@account_options
def logout() -> None:
    """End a saved login, on the server too. What was received, and what waits to be sent, stays here."""
    profile = saved_profile(current())
    if profile is None or is_local(profile):
        raise click.UsageError(
            "there is no saved login to end; name one with --profile", click.get_current_context()
        )
    client = connect()
    user_id = client.user_id
    _say_what_waits(client)
    client.logout()
    say(f"logged out {user_id}, profile {profile}; `matrixdata login {client.homeserver}` goes on there")
