"""Whose devices we keep track of, whether the list is up to date, and the devices themselves.

Answers to /keys/query are judged in device_answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.encryption import outgoing
from matrixdata.encryption.port import Device
from matrixdata.encryption.reading import json_text, object_at, parsed_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matrixdata.encryption.port import Outgoing
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON

MOST_USERS = 250
"""Users asked for in one request, so that its answer has a bound."""

_MINUTE = 60_000_000
_LONGEST_PAUSE = 60 * _MINUTE

_COLUMNS = "user_id, device_id, curve25519, ed25519, keys, deleted, blocked"
_Row = tuple[str, str, str, str, bytes, int, int]


# -- tracking ---------------------------------------------------------------------------------------------
def track(tx: Transaction, users: Iterable[str]) -> None:
    """Keep the devices of these users up to date from now on; those of new ones are to be asked for."""
    tx.connection.executemany(
        "INSERT OR IGNORE INTO tracked (user_id) VALUES (?)", ((user,) for user in users)
    )


def untrack(tx: Transaction, users: Iterable[str]) -> None:
    """We share no encrypted room with them any more. What is known of them stays, identity pins above all."""
    others = [(user,) for user in users if user != tx.me.user_id]
    tx.connection.executemany("DELETE FROM tracked WHERE user_id = ?", others)


def mark_stale(tx: Transaction, users: Iterable[str] | None = None) -> None:
    """The devices of these users may have changed; None: of everybody whom we track. Others are left alone."""
    change = "UPDATE tracked SET stale = stale + 1, not_before = 0"
    if users is None:
        tx.connection.execute(change)
    else:
        tx.connection.executemany(f"{change} WHERE user_id = ?", ((user,) for user in users))


def stale_among(tx: Transaction, users: Iterable[str]) -> set[str]:
    """Those of the users whose devices are to be asked for first.

    Who is not tracked is in it. Who is on a server that lately did not answer is not, until it is time to ask that
    again: one server that is down must not keep everybody from writing; the devices known so far get the keys.
    """
    now = tx.me.clock()
    found = set()
    for user in users:
        row = tx.connection.execute(
            "SELECT stale, not_before FROM tracked WHERE user_id = ?", (user,)
        ).fetchone()
        if row is None or (row[0] and not _is_resting(row[1], now)):
            found.add(user)
    return found


def ask(tx: Transaction, users: Iterable[str] | None = None) -> tuple[Outgoing, ...]:
    """The stored requests that bring up to date what is stale; new ones are queued where none is under way.

    Args:
        tx: the transaction.
        users: only these, tracked from now on; None: everybody whom we track.
    """
    if users is None:
        rows = tx.connection.execute("SELECT user_id FROM tracked WHERE stale ORDER BY user_id")
        users = [user for (user,) in rows]
    else:
        users = list(users)
        track(tx, users)
    wanted = stale_among(tx, users)
    under_way = outgoing.under_way(tx, "query") if wanted else []
    found = [it.request for it in under_way if wanted & object_at(it.purpose, "users").keys()]
    for it in under_way:
        wanted -= object_at(it.purpose, "users").keys()
    waiting = sorted(wanted)
    found += [ask_now(tx, waiting[n : n + MOST_USERS]) for n in range(0, len(waiting), MOST_USERS)]
    return tuple(found)


def ask_now(tx: Transaction, users: Iterable[str]) -> Outgoing:
    """Queue one request for the devices of these users. It remembers which of their changes it asks about."""
    asked: dict[str, JSON] = {}
    for user in users:
        row = tx.connection.execute("SELECT stale FROM tracked WHERE user_id = ?", (user,)).fetchone()
        asked[user] = row[0] if row else 0
    return outgoing.queue(
        tx, "query", {"device_keys": {user: [] for user in asked}}, purpose={"users": asked}
    )


def answered(tx: Transaction, user_id: str, asked: JSON) -> None:
    """These devices are what the server has. A change that came after the question keeps the user stale."""
    tx.connection.execute(
        "UPDATE tracked SET stale = CASE WHEN stale = ? THEN 0 ELSE stale END, failures = 0, not_before = 0 "
        "WHERE user_id = ?",
        (asked if isinstance(asked, int) else -1, user_id),
    )


def unanswered(tx: Transaction, user_id: str) -> None:
    """The user's server could not be reached: ask again in a minute, then in two, at last once an hour."""
    now = tx.me.clock()
    tx.connection.execute(
        "UPDATE tracked SET failures = failures + 1, not_before = ? + min(?, ? << min(failures, 10)) WHERE user_id = ?",
        (now, _LONGEST_PAUSE, _MINUTE, user_id),
    )


def _is_resting(not_before: int, now: int) -> bool:
    return 0 < not_before - now <= _LONGEST_PAUSE  # further off only if the clock was set back


# -- devices ----------------------------------------------------------------------------------------------
def devices_of(tx: Transaction, users: Iterable[str]) -> list[Device]:
    """The devices that the servers of these users list, our own included. Each signed itself; no more is implied."""
    found: list[Device] = []
    for user in users:
        rows = tx.connection.execute(
            f"SELECT {_COLUMNS} FROM device WHERE user_id = ? AND NOT deleted ORDER BY device_id",  # noqa: S608  ours
            (user,),
        )
        found += map(_device, rows)
    return found


def device(tx: Transaction, user_id: str, device_id: str) -> Device | None:
    """The device of that id, where it is listed."""
    row = tx.connection.execute(
        f"SELECT {_COLUMNS} FROM device WHERE user_id = ? AND device_id = ? AND NOT deleted",  # noqa: S608  ours
        (user_id, device_id),
    ).fetchone()
    return _device(row) if row else None


def by_key(tx: Transaction, curve25519: str) -> Device | None:
    """The one device that has this identity key, also when it is not listed (any more)."""
    row = tx.connection.execute(
        f"SELECT {_COLUMNS} FROM device WHERE curve25519 = ?",  # noqa: S608  our columns
        (curve25519,),
    ).fetchone()
    return _device(row) if row else None


def keep(tx: Transaction, new: Device) -> None:
    """Store a device whose keys were checked, or what changed about one: its signatures, whether it is listed."""
    tx.connection.execute(
        "INSERT INTO device (user_id, device_id, curve25519, ed25519, keys, deleted) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (user_id, device_id, ed25519) DO UPDATE SET keys = excluded.keys, deleted = excluded.deleted",
        (new.user_id, new.device_id, new.curve25519, new.ed25519, json_text(new.keys), new.deleted),
    )


def unlist(tx: Transaction, old: Device) -> None:
    """The device is not listed any more. Its keys stay, so that they can neither change nor be taken by another."""
    tx.connection.execute(
        "UPDATE device SET deleted = 1 WHERE user_id = ? AND device_id = ? AND NOT deleted",
        (old.user_id, old.device_id),
    )


def forget(tx: Transaction, false: Device) -> None:
    """The device turned out to have claimed a key that another one proved to have."""
    tx.connection.execute("DELETE FROM device WHERE curve25519 = ?", (false.curve25519,))


def block(tx: Transaction, user_id: str, device_id: str, blocked: bool) -> None:
    """Give this device no keys from now on, or do so again."""
    tx.connection.execute(
        "UPDATE device SET blocked = ? WHERE user_id = ? AND device_id = ?", (blocked, user_id, device_id)
    )


def _device(row: _Row) -> Device:
    keys: Mapping[str, JSON] = parsed_object(row[4]) or {}
    return Device(row[0], row[1], row[2], row[3], keys, bool(row[5]), bool(row[6]))
