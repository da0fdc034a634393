"""`matrixdata keys`: what this device can read and sign, and how that is kept and got back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from matrixdata.cli.entering import entered
from matrixdata.cli.group import Group
from matrixdata.cli.output import say, write, write_json
from matrixdata.cli.rows import show_facts, show_rows
from matrixdata.cli.settings import account_options, connect, current, examples
from matrixdata.cli.verify import verify

_DEVICES = ("device_id", "standing", "blocked", "fingerprint", "user_id")
_KEY_FILE = click.option(
    "--key-file", type=click.Path(path_type=Path), help="A file of yours alone (mode 0600) that holds it."
)
_PASSPHRASE_FILE = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    help="A file of yours alone (mode 0600) that holds the passphrase.",
)


@click.group(
    cls=Group,
    invoke_without_command=True,
    epilog=examples("matrixdata keys", "matrixdata keys recover", "matrixdata keys export keys.txt"),
)
@account_options
@click.pass_context
def keys(ctx: click.Context) -> None:
    """Keys for end-to-end encryption. Without a command: how they are."""
    if ctx.invoked_subcommand is None:
        _status()


@keys.command(epilog=examples("matrixdata keys status", "matrixdata keys status --json"))
@account_options
def status() -> None:
    """Say what is there, what is missing, and what would mend it."""
    _status()


def _status() -> None:
    with connect() as client:
        found = client.keys.status()
    if current().as_json:
        show_facts(dataclasses.asdict(found))
    else:
        write(str(found))


@keys.command("set-up", epilog=examples("matrixdata keys set-up", "matrixdata keys set-up --replace"))
@click.option(
    "--replace", is_flag=True, help="Also where there is a recovery key, which then opens nothing any more."
)
@account_options
def set_up(*, replace: bool) -> None:
    """Make a recovery key and print it, once. With it, a new device reads everything of this account."""
    with connect() as client:
        made = client.keys.set_up_recovery(replace=replace)
    if current().as_json:
        write_json({"recovery_key": made})
    else:
        say("the recovery key of this account; it is stored nowhere, so keep it like a house key:")
        write(made)


@keys.command(epilog=examples("matrixdata keys recover", "matrixdata keys recover --key-file key.txt"))
@_KEY_FILE
@account_options
def recover(*, key_file: Path | None) -> None:
    """Unlock the account on this device with its recovery key, and restore its room keys.

    The key is asked for, unless MATRIXDATA_RECOVERY_KEY or --key-file has it.
    """
    key = entered("the recovery key", variable="MATRIXDATA_RECOVERY_KEY", file=key_file, option="--key-file")
    with connect() as client:
        found = client.keys.recover(key)
    if current().as_json:
        write_json(dataclasses.asdict(found))
        return
    restored = "there is no backup" if found.restored is None else f"{found.restored:,} room keys restored"
    write(f"{'this device is yours for everybody now' if found.signed else 'not signed'}; {restored}")


@keys.command(epilog=examples("matrixdata keys reset"))
@click.option("--password-file", type=click.Path(path_type=Path), help="A file of yours alone (mode 0600).")
@account_options
def reset(*, password_file: Path | None) -> None:
    """Make a new identity, where neither a device nor a recovery key has the old one any more.

    Everybody sees that yours changed. The password is asked for, unless MATRIXDATA_PASSWORD or --password-file has it.
    """
    password = entered(
        "the password", variable="MATRIXDATA_PASSWORD", file=password_file, option="--password-file"
    )
    with connect() as client:
        client.keys.reset_identity(password)
        _done(client.user_id, "reset")


@keys.command(epilog=examples("matrixdata keys backup"))
@account_options
def backup() -> None:
    """Back up every room key now; commands that run longer do so by themselves."""
    with connect() as client:
        count = client.keys.backup()
        found = client.keys.status()
    if current().as_json:
        write_json({"backed_up": count, "version": found.backup})
    else:
        write(f"{count:,} room keys backed up; {found.backed_up:,} of {found.sessions:,} are there")


@keys.command(epilog=examples("matrixdata keys restore"))
@account_options
def restore() -> None:
    """Take the room keys of the backup."""
    with connect() as client:
        count = client.keys.restore()
    _counted(count, "restored")


@keys.command("export", epilog=examples("matrixdata keys export keys.txt"))
@click.argument("path", type=click.Path(path_type=Path))
@_PASSPHRASE_FILE
@account_options
def export_file(path: Path, *, passphrase_file: Path | None) -> None:
    """Write every room key to the file PATH under a passphrase, as every Matrix client reads it."""
    with connect() as client:
        count = client.keys.export_file(path, _passphrase(passphrase_file, again=True))
    _counted(count, "exported")


@keys.command("import", epilog=examples("matrixdata keys import keys.txt"))
@click.argument("path", type=click.Path(path_type=Path))
@_PASSPHRASE_FILE
@account_options
def import_file(path: Path, *, passphrase_file: Path | None) -> None:
    """Take the room keys of the file PATH."""
    with connect() as client:
        count = client.keys.import_file(path, _passphrase(passphrase_file))
    _counted(count, "imported")


@keys.command(epilog=examples("matrixdata keys devices", "matrixdata keys devices @ada:example.org"))
@click.argument("user", required=False)
@account_options
def devices(user: str | None) -> None:
    """List the devices of USER, or your own, with what is known of each."""
    with connect() as client:
        rows = [dataclasses.asdict(device) for device in client.keys.devices(user)]
    show_rows(rows, _DEVICES, none="no devices that can encrypt")


@keys.command(epilog=examples('matrixdata keys sign ABCDEF --fingerprint "…"'))
@click.argument("device")
@click.option("--fingerprint", help="As `matrixdata keys` shows it on that device.")
@account_options
def sign(device: str, *, fingerprint: str | None) -> None:
    """Sign another device of yours from here, so that everybody takes it for yours."""
    with connect() as client:
        client.keys.sign_device(device, fingerprint=fingerprint)
    if fingerprint is None:
        say("the server was believed about that device's keys; --fingerprint compares them", label="note")
    _done(device, "signed")


@keys.command(epilog=examples("matrixdata keys revoke ABCDEF --remove"))
@click.argument("device")
@click.option("--remove", is_flag=True, help="Remove it from the account, which takes the password.")
@click.option("--password-file", type=click.Path(path_type=Path), help="A file of yours alone (mode 0600).")
@account_options
def revoke(device: str, *, remove: bool, password_file: Path | None) -> None:
    """End a device of yours that is lost or retired: it gets no more keys from here.

    With --remove it is removed from the account, so that others leave it out, too; the password is asked for, unless
    MATRIXDATA_PASSWORD or --password-file has it.
    """
    password = None
    if remove:
        password = entered(
            "the password", variable="MATRIXDATA_PASSWORD", file=password_file, option="--password-file"
        )
    with connect() as client:
        done = client.keys.revoke(device, password=password)
    _done(device, done)


@keys.command(epilog=examples("matrixdata keys acknowledge @ada:example.org"))
@click.argument("user")
@account_options
def acknowledge(user: str) -> None:
    """Go on with USER, whose identity changed: ask them first whether they reset it."""
    with connect() as client:
        client.keys.acknowledge(user)
    _done(user, "acknowledged")


def _passphrase(file: Path | None, *, again: bool = False) -> str:
    return entered(
        "the passphrase of the file",
        variable="MATRIXDATA_PASSPHRASE",
        file=file,
        option="--passphrase-file",
        again=again,
    )


def _counted(count: int, what: str) -> None:
    if current().as_json:
        write_json({what: count})
    else:
        write(f"{count:,} room key{'s' * (count != 1)} {what}")


def _done(whom: str, what: str) -> None:
    if current().as_json:
        write_json({"of": whom, "state": what})
    else:
        write(f"{whom}: {what}")


keys.add_command(verify)
