"""`matrixdata verify`: compare short strings with somebody, or with another device of yours."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from matrixdata.cli.output import say, write, write_json
from matrixdata.cli.settings import account_options, connect, current, examples

if TYPE_CHECKING:
    import matrixdata as md
    from matrixdata.connect.keys import Verification

_LOOK_EVERY = 0.2


@click.command(
    epilog=examples("matrixdata verify", "matrixdata verify @ada:example.org", "matrixdata verify --answer")
)
@click.argument("who", required=False)
@click.option("--device", metavar="ID", help="Only this device of theirs.")
@click.option("--answer", is_flag=True, help="Wait for somebody who asks, instead of asking.")
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Seconds to wait."
)
@account_options
def verify(who: str | None, *, device: str | None, answer: bool, timeout: float) -> None:
    """Verify WHO: a user, or a device id of yours; without it, any other device of yours.

    Seven emoji and three numbers appear on both sides. Compare them over something that nobody can fake: see the
    other screen, or call. Where they are the same, nobody stands between the two devices.
    """
    with connect() as client:
        verification = (
            _asked_by(client, who, timeout) if answer else client.keys.verify(who, device_id=device)
        )
        if not answer:
            say(f"waiting for {verification.user_id} to take it up on the other side")
        string = verification.compare(timeout=timeout)
        for symbol, name in string.emoji:
            say(f"  {symbol}  {name}")
        say("  " + " ".join(map(str, string.numbers)))
        if not click.confirm("is it the same on the other side?", err=True):
            verification.refuse()
            say("they differ, so nothing was verified: somebody may stand between you", label="error")
            click.get_current_context().exit(1)
        verification.confirm(timeout=timeout)
        _told(verification)


def _asked_by(client: md.Client, who: str | None, timeout: float) -> Verification:
    """The first request that comes, or waits already."""
    end = time.monotonic() + timeout
    while True:
        for request in client.keys.requests():
            if who in {None, request.user_id, request.device_id}:
                say(f"{request.user_id} asks, from their device {request.device_id}")
                return request
        if time.monotonic() >= end:
            raise click.ClickException(f"nobody asked within {timeout:g} s")
        time.sleep(_LOOK_EVERY)


def _told(verification: Verification) -> None:
    if current().as_json:
        write_json({"user_id": verification.user_id, "device_id": verification.device_id, "state": "done"})
    else:
        write(f"verified {verification.user_id}")
