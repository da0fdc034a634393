"""The moments between the steps of docs/ARCHITECTURE.md at which a process may die.

Nobody listens, except a test that ends the process there to show that nothing is lost or doubled. The code
must never depend on a listener.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS: Final = (
    "publish.1 checked",  # nothing of it is on disk
    "publish.2 stored",  # durable; the caller does not know yet
    "publish.3 packing",  # inside the transaction that makes one batch of what is queued
    "publish.3 packed",  # it is made; nothing of it has left
    "seal.1 prepared",  # in an encrypted room: who gets the key is known, and what is to be sent to them stored
    "seal.2 shared",  # they have it
    "seal.3 encrypted",  # the record is, and neither that nor the ratchet behind it is on disk
    "publish.3 sending",  # no byte has left
    "publish.3 answered",  # the server has it, we have not noted that
    "publish.4 recorded",  # its outcome is noted
    "publish.5 settled",  # its echo is in the replica and it has left the outbox
    "read.1 received",  # a response is parsed, nothing of it stored
    "read.2 keys",  # keys and their token are stored, of the rooms nothing
    "read.2 judged",  # each event has its row state, nothing is stored
    "read.3 writing",  # inside the transaction
    "read.3 committed",  # rows and token are stored, the outbox is not settled
    "read.4 woken",  # subscribers know
    "keys.1 sending",  # a request for keys is stored, no byte has left
    "keys.2 answered",  # the server has answered it, that is not stored
    "keys.3 stored",
    "backfill.1 received",
    "backfill.2 committed",
    "rollback.1 listed",  # our records that the server forgot are in the outbox, their events not yet marked
    "rollback.2 marked",  # and now they are
    "session.1 refreshed",  # the server has given new tokens, they are not on disk
    "session.2 stored",  # they are, and the old ones are still in use
    "follow.1 joined",  # we are in the room that replaced another
    "follow.2 state",  # one more piece of the old room's state stands in it
    "follow.3 bound",  # our names mean it on the server, not yet here
    "follow.4 moved",  # here too, and what was stuck is queued for it
)
"""Every step, in the order in which a record or a response passes them."""

listener: Callable[[str], None] | None = None
"""Called with the name of each step as it is reached."""


def reached(step: str) -> None:
    """The code is at this step now."""
    if listener is not None:
        listener(step)
