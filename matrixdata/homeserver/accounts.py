"""Users of the embedded homeserver: made with the server's own secret, their passwords derived from it."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from matrixdata.errors import NotFound, NotSent, Rejected
from matrixdata.homeserver import identity as identities
from matrixdata.homeserver import loopback
from matrixdata.model.hidden import HiddenBytes

if TYPE_CHECKING:
    from matrixdata.homeserver.server import ServerAddress
    from matrixdata.model.json import JSONObject

_PATH = "/_synapse/admin/v1/register"
_LOCALPART = re.compile(r"[a-z0-9._=/+-]+")


def register(address: ServerAddress, localpart: str, *, admin: bool = False) -> str:
    """The password of user `localpart`, who is registered if new. Doing it again changes nothing.

    Uses Synapse's "Shared-Secret Registration", which is open only to those who can read the secrets of
    the server's directory.

    Args:
        address: a running server, from `start`.
        localpart: the part of the user id before the colon: a-z, 0-9 and ._=/+- (Matrix appendices,
            "User Identifiers").
        admin: give a new user the server's administration API; does not change a user who exists.

    Raises:
        Rejected: the name is not allowed, or the server refused.
        NotSent: the server does not answer; start it again.
        NotFound: there is no homeserver in that directory.
    """
    if not _LOCALPART.fullmatch(localpart):
        raise Rejected(
            "M_INVALID_USERNAME",
            f"{localpart!r} cannot be a user name here; use a-z, 0-9 and any of . _ = / + -",
            status=400,
        )
    identity = identities.load(address.directory)
    if identity is None:
        raise NotFound(f"there is no homeserver in {address.directory}")
    password = identity.password(localpart)
    port = urlsplit(address.url).port or 0
    try:
        _, challenge = loopback.request(port, "GET", _PATH)
        nonce = str(challenge.get("nonce", ""))
        body: JSONObject = {
            "nonce": nonce,
            "username": localpart,
            "password": password,
            "admin": admin,
            "inhibit_login": True,
            "mac": _mac(identity.registration_secret, nonce, localpart, password, admin=admin),
        }
        status, answer = loopback.request(port, "POST", _PATH, body)
    except OSError as error:
        raise NotSent(f"the homeserver at {address.url} does not answer; start it again") from error
    errcode = str(answer.get("errcode", "M_UNKNOWN"))
    if status == 200 or errcode == "M_USER_IN_USE":
        return password
    raise Rejected(errcode, str(answer.get("error", "")), status=status)


def recovery_key(address: ServerAddress, localpart: str) -> HiddenBytes:
    """The 32 bytes of a user's recovery key, open to those who can read the secrets of the server's directory.

    Raises:
        NotFound: there is no homeserver in that directory.
    """
    identity = identities.load(address.directory)
    if identity is None:
        raise NotFound(f"there is no homeserver in {address.directory}")
    return HiddenBytes(identity.recovery_key(localpart))


def _mac(secret: str, *parts: str, admin: bool) -> str:
    message = b"\0".join(part.encode() for part in (*parts, "admin" if admin else "notadmin"))
    return hmac.new(secret.encode(), message, hashlib.sha1).hexdigest()  # SHA-1 is what Synapse asks for
