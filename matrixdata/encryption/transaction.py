"""What every verb works in: one transaction of account.db, and the key that its secrets are sealed with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from matrixdata.errors import StoreCorrupt

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

_NONCE = 12


@dataclass(frozen=True, slots=True)
class Me:
    """Who we are, and what the engine takes from the world.

    Attributes:
        pickle_key: 32 bytes that seal what is secret in the store.
        clock: microseconds since 1970 UTC.
        new_id: fresh ids of at least 128 random bits, safe in URLs.
    """

    user_id: str
    device_id: str
    pickle_key: bytes = field(repr=False)
    clock: Callable[[], int]
    new_id: Callable[[], str]


class Transaction(msgspec.Struct, frozen=True):
    """One transaction. Whoever opened it commits it; a verb that raises leaves it to be rolled back."""

    connection: sqlite3.Connection
    me: Me

    def seal(self, clear: bytes, purpose: str) -> bytes:
        """Encrypt for the store (AES-256-GCM, NIST SP 800-38D); `purpose` must be the same when it is opened."""
        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(self.me.pickle_key).encrypt(nonce, clear, purpose.encode())

    def unseal(self, sealed: bytes, purpose: str) -> bytes:
        """What was sealed for that purpose.

        Raises:
            StoreCorrupt: it was changed, or sealed with another key.
        """
        try:
            return AESGCM(self.me.pickle_key).decrypt(sealed[:_NONCE], sealed[_NONCE:], purpose.encode())
        except InvalidTag as error:
            raise StoreCorrupt(
                f"the stored {purpose} cannot be opened: it was changed, or the store's key is another one"
            ) from error
