"""Private keys in account.db: cross-signing and backup, sealed. Named as in secret storage (spec "Cross-signing")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matrixdata.model.hidden import HiddenBytes

if TYPE_CHECKING:
    from matrixdata.encryption.transaction import Transaction

MASTER: Final = "m.cross_signing.master"
SELF_SIGNING: Final = "m.cross_signing.self_signing"
USER_SIGNING: Final = "m.cross_signing.user_signing"
BACKUP: Final = "m.megolm_backup.v1"
NAMES: Final = (MASTER, SELF_SIGNING, USER_SIGNING, BACKUP)


def put(tx: Transaction, name: str, key: bytes) -> None:
    """Keep a private key, in place of an older one."""
    tx.connection.execute("REPLACE INTO secret VALUES (?, ?)", (name, tx.seal(key, f"secret {name}")))


def get(tx: Transaction, name: str) -> HiddenBytes | None:
    """A private key, None where there is none."""
    row = tx.connection.execute("SELECT sealed FROM secret WHERE name = ?", (name,)).fetchone()
    return HiddenBytes(tx.unseal(row[0], f"secret {name}")) if row else None


def forget(tx: Transaction, *names: str) -> None:
    """Drop private keys."""
    tx.connection.executemany("DELETE FROM secret WHERE name = ?", [(name,) for name in names])


def held(tx: Transaction) -> frozenset[str]:
    """The names of the private keys that are here."""
    return frozenset(name for (name,) in tx.connection.execute("SELECT name FROM secret"))
