"""`matrixdata status`: how the account is doing, and whether its server answers."""

from __future__ import annotations

import click

from matrixdata.cli.failures import FAILED
from matrixdata.cli.rows import show_facts
from matrixdata.cli.settings import account_options, connect, examples
from matrixdata.errors import NotSent, Rejected, Unknown


@click.command(epilog=examples("matrixdata status", "matrixdata status --profile lab --json"))
@account_options
def status() -> None:
    """Ask the server once, and say who you are, where, and what waits or lacks. Exit code 1 if it does not answer.

    `queued` and `stuck` count records in the outbox, `gaps` stretches of history that were not fetched, `invalid`
    and `undecryptable` events that are no records, over all collections.
    """
    with connect() as client:
        problem = None
        try:
            client.collections()
        except (NotSent, Rejected, Unknown) as error:
            problem = str(error)
        known = client.status()
        problem = problem or known.problem
        show_facts(
            {
                "user_id": known.user_id,
                "homeserver": known.homeserver,
                "profile": client.profile,
                "device_id": known.device_id,
                "connected": problem is None,
                "problem": problem,
                "queued": known.queued,
                "stuck": known.stuck,
                "dropped": known.dropped,
                "gaps": known.gaps,
                "gap_problem": known.gap_problem,
                "invalid": known.invalid,
                "undecryptable": known.undecryptable,
            }
        )
    if problem is not None:
        click.get_current_context().exit(FAILED)
