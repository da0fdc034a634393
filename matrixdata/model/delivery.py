"""Why an accepted record is not on the server yet, in the words that users see. docs/guide.md lists them."""

from __future__ import annotations

from typing import Final, Literal

Reason = Literal[
    "unreachable",
    "no_answer",
    "rate_limited",
    "logged_out",
    "identity_changed",
    "server_error",
    "uid_conflict",
    "room_replaced",
    "rolled_back",
    "damaged",
]
"""Our own reasons. Every other reason is an errcode of the server, such as "M_FORBIDDEN"."""

MEANING: Final[dict[Reason, str]] = {
    "unreachable": "the server cannot be reached; nothing has left this machine",
    "no_answer": "it was sent and no usable answer came: it may be on the server; this is being found out",
    "rate_limited": "the server asked us to wait",
    "logged_out": "the session is over; it is sent after the next login",
    "identity_changed": "somebody who would get the key has another identity than before; see client.keys",
    "server_error": "the server failed on it each time and took other records",
    "uid_conflict": "another device of yours used its uid for another record",
    "room_replaced": "the room was upgraded; collection.follow_upgrade() takes it to the one that replaced it",
    "rolled_back": "the server had it, was restored from a backup, and has it no more",
    "damaged": "its bytes changed on the disk; it is never sent: cancel it, and publish the record again",
}
"""What each means. The first four are of queued records and pass by themselves, the fifth waits for you; the others are
of stuck ones."""
