"""What stays the same over all restarts of one embedded homeserver: its name and its secrets.

Made once per directory, kept in an owner-only file, never shown in any repr.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from matrixdata.errors import StoreCorrupt
from matrixdata.homeserver.files import OURS, read_json, write_private_json

if TYPE_CHECKING:
    from pathlib import Path

    from matrixdata.model.json import JSONObject

_FIELDS = ("name", "signing_key", "registration_secret", "macaroon_secret", "form_secret", "password_secret")


@dataclass(frozen=True, slots=True)
class Identity:
    """One homeserver's name and secrets.

    Attributes:
        name: the server name in user ids (Matrix appendices, "Server name"). It ends in `.localhost`,
            which never names another machine (RFC 6761, section 6.3).
        signing_key: the Ed25519 key it signs events with, as Synapse writes it: algorithm, version, seed.
    """

    name: str
    signing_key: str = field(repr=False)
    registration_secret: str = field(repr=False)
    macaroon_secret: str = field(repr=False)
    form_secret: str = field(repr=False)
    password_secret: str = field(repr=False)

    def password(self, localpart: str) -> str:
        """The password of one of this server's users: derived, so that it is stored nowhere."""
        digest = hmac.digest(self.password_secret.encode(), localpart.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def recovery_key(self, localpart: str) -> bytes:
        """The 32 bytes of the key that recovers one of this server's users on a further device; derived likewise."""
        message = f"recovery key\0{localpart}".encode()
        return hmac.digest(self.password_secret.encode(), message, hashlib.sha256)


def load_or_create(directory: Path) -> Identity:
    """The identity kept in `directory`, made on first use. Call it with the start lock held.

    Raises:
        StoreCorrupt: the file is there and cannot be read; a new one would orphan every user and room.
    """
    found = load(directory)
    if found is not None:
        return found
    # An Ed25519 key is 32 random bytes (RFC 8032, section 5.1.5); made here, it saves a run of Synapse.
    seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    identity = Identity(
        name=f"matrixdata-{secrets.token_hex(4)}.localhost",
        signing_key=f"ed25519 a_{secrets.token_hex(2)} {seed}",
        registration_secret=secrets.token_urlsafe(32),
        macaroon_secret=secrets.token_urlsafe(32),
        form_secret=secrets.token_urlsafe(32),
        password_secret=secrets.token_urlsafe(32),
    )
    content: JSONObject = {name: getattr(identity, name) for name in _FIELDS}
    write_private_json(directory / OURS, content)
    return identity


def load(directory: Path) -> Identity | None:
    """The identity kept in `directory`, or None if no homeserver was ever started there."""
    path = directory / OURS
    if not path.exists():
        return None
    content = read_json(path) or {}
    values = [content.get(name) for name in _FIELDS]
    texts = [value for value in values if isinstance(value, str) and value]
    if len(texts) != len(_FIELDS):
        raise StoreCorrupt(
            f"{path} is damaged: it holds the name and secrets of the homeserver in that directory. "
            "Restore it from a backup, or start anew in another directory."
        )
    return Identity(*texts)
