"""Where this device stands in its own account: what is known without asking anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from matrixdata.encryption import cross_signing, device_keys, identities, stored_secrets
from matrixdata.encryption.stored_secrets import MASTER, SELF_SIGNING, USER_SIGNING

if TYPE_CHECKING:
    from matrixdata.encryption.identities import Identity
    from matrixdata.encryption.transaction import Transaction

OF_IDENTITY = frozenset({MASTER, SELF_SIGNING, USER_SIGNING})


class Situation(msgspec.Struct, frozen=True):
    """Where this device stands.

    Attributes:
        fingerprint: its Ed25519 key.
        master: the account's master key; None: it has no identity, as far as is known.
        changed: the server gives another identity than the one that was pinned.
        trusted: that identity is surely ours: compared, or known by its private key.
        signed: the identity signed this device.
        held: names of the private keys that are here and fit the identity, `m.megolm_backup.v1` too.
    """

    fingerprint: str
    master: str | None
    changed: bool
    trusted: bool
    signed: bool
    held: frozenset[str]

    @property
    def settled(self) -> bool:
        """Nothing is left to do: others see this device as its owner's."""
        return self.signed and not self.changed


def situation(tx: Transaction) -> Situation:
    """Where this device stands."""
    own, identity = device_keys.own_device(tx), identities.identity(tx, tx.me.user_id)
    if identity is None:
        held = stored_secrets.held(tx) - OF_IDENTITY
        return Situation(own.ed25519, None, changed=False, trusted=False, signed=False, held=held)
    fits = {
        name for name, key in public_keys(identity).items() if cross_signing.is_ours(tx, name, key)
    } | stored_secrets.held(tx) - OF_IDENTITY
    return Situation(
        own.ed25519,
        identity.master,
        changed=identity.changed,
        trusted=identity.verified and not identity.changed,
        signed=identities.is_signed_by_owner(identity, own),
        held=frozenset(fits),
    )


def public_keys(identity: Identity) -> dict[str, str | None]:
    """The identity's keys by the names of their private halves."""
    return {
        MASTER: identity.master,
        SELF_SIGNING: identity.self_signing,
        USER_SIGNING: identity.user_signing,
    }
