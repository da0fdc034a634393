"""The stored Olm sessions, by the identity key of the device at the other end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vodozemac import PickleException, Session

from matrixdata.errors import StoreCorrupt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matrixdata.encryption.transaction import Transaction

MOST_SESSIONS = 5
"""Kept with one device (the spec wants four at least): what was sent with an older one can still be on its way."""


def newest(tx: Transaction, sender_key: str) -> Session | None:
    """The session to encrypt with: the one by which something was last decrypted, or that was made since."""
    return next(with_device(tx, sender_key), None)


def with_device(tx: Transaction, sender_key: str) -> Iterator[Session]:
    """The sessions with that device, the last used first."""
    rows = tx.connection.execute(
        "SELECT pickle FROM olm_session WHERE sender_key = ? ORDER BY used_at DESC", (sender_key,)
    ).fetchall()
    return (_opened(tx, pickle) for (pickle,) in rows)


def has(tx: Transaction, sender_key: str) -> bool:
    """Whether there is a session with that device."""
    query = "SELECT 1 FROM olm_session WHERE sender_key = ? LIMIT 1"
    return tx.connection.execute(query, (sender_key,)).fetchone() is not None


def find(tx: Transaction, sender_key: str, session_id: str) -> Session | None:
    """That very session, if it is with that device."""
    row = tx.connection.execute(
        "SELECT pickle FROM olm_session WHERE session_id = ? AND sender_key = ?", (session_id, sender_key)
    ).fetchone()
    return _opened(tx, row[0]) if row else None


def advanced(tx: Transaction, session: Session) -> None:
    """Write back a session that encrypted something."""
    tx.connection.execute(
        "UPDATE olm_session SET pickle = ? WHERE session_id = ?",
        (session.pickle(tx.me.pickle_key), session.session_id),
    )


def received(tx: Transaction, sender_key: str, session: Session) -> None:
    """Write a session that was made just now or decrypted something: it is the newest. The oldest may have to go."""
    c, now = tx.connection, tx.me.clock()
    # A clock that was set back must not make an older session the newest.
    c.execute(
        "INSERT INTO olm_session (session_id, sender_key, pickle, created_at, used_at) "
        "SELECT ?, ?, ?, ?, max(?, coalesce(max(used_at), 0) + 1) FROM olm_session WHERE sender_key = ?2 "
        "ON CONFLICT (session_id) DO UPDATE SET pickle = excluded.pickle, used_at = excluded.used_at",
        (session.session_id, sender_key, session.pickle(tx.me.pickle_key), now, now),
    )
    c.execute(
        "DELETE FROM olm_session WHERE sender_key = ?1 AND session_id NOT IN "
        "(SELECT session_id FROM olm_session WHERE sender_key = ?1 ORDER BY used_at DESC LIMIT ?2)",
        (sender_key, MOST_SESSIONS),
    )


def _opened(tx: Transaction, pickle: str) -> Session:
    try:
        return Session.from_pickle(pickle, tx.me.pickle_key)
    except PickleException as error:
        raise StoreCorrupt(
            "an Olm session cannot be opened: it was changed, or the store's key is another one"
        ) from error
