"""This device's own keys: the Olm account, its one-time and fallback keys, and what of them the server lacks.

The account is read from its pickle, used, and written back inside the transaction that uses it; never kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from vodozemac import Account, PickleException

from matrixdata.encryption import outgoing
from matrixdata.encryption.port import MEGOLM, OLM, Device, Received
from matrixdata.encryption.reading import json_text, object_at, parsed_object, texts_at
from matrixdata.encryption.signing import signed
from matrixdata.errors import StoreCorrupt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vodozemac import Curve25519PublicKey

    from matrixdata.encryption.outgoing import Stored
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON, JSONObject

ALGORITHM = "signed_curve25519"

ONE_TIME_KEYS = 25
"""What the server is to hold: half of what an account can have unpublished, so that keys that were claimed and are
still to be used by somebody have room."""

_HOUR = 3_600_000_000
_FALLBACK_SERVES = _HOUR
"""A used fallback key is replaced, but no sooner: its predecessor has then had an hour for messages on their way."""

_REFUSAL_RESTS = 60_000_000

_OF_THE_DEVICE = (  # what a login as another device must not go on with
    *("olm_account", "olm_session", "olm_seen", "unwedging", "unclaimable", "outgoing", "inbox"),
    *("megolm_outbound", "megolm_recipient", "withheld", "key_request", "key_asked"),
)

CLONED = (
    "the server has other keys for this device than this store: a copy of the store is in use elsewhere, or an older "
    "copy was put back. Log in again, which makes a new device; two that share one lose messages."
)


class _Fallback(Protocol):
    """What vodozemac's stub omits of Account (0.10)."""

    @property
    def fallback_key(self) -> dict[str, Curve25519PublicKey]: ...
    def generate_fallback_key(self) -> object: ...


# -- the account ------------------------------------------------------------------------------------------
def open_account(tx: Transaction) -> None:
    """Make the account if there is none, or if what is here is another device's: then its sessions go too."""
    me, c = tx.me, tx.connection
    row = c.execute("SELECT user_id, device_id FROM olm_account").fetchone()
    if row == (me.user_id, me.device_id):
        return
    for table in _OF_THE_DEVICE if row else ():
        c.execute(f"DELETE FROM {table}")  # noqa: S608  names of our tables
    account = Account()
    curve25519, ed25519 = account.curve25519_key.to_base64(), account.ed25519_key.to_base64()
    c.execute(
        "INSERT INTO olm_account (id, user_id, device_id, curve25519, ed25519, pickle) VALUES (1, ?, ?, ?, ?, ?)",
        (me.user_id, me.device_id, curve25519, ed25519, account.pickle(me.pickle_key)),
    )
    c.execute("UPDATE device SET deleted = 1 WHERE user_id = ? AND device_id = ?", (me.user_id, me.device_id))
    c.execute(
        "INSERT INTO device (user_id, device_id, curve25519, ed25519, keys) VALUES (?, ?, ?, ?, ?)",
        (me.user_id, me.device_id, curve25519, ed25519, json_text(_signed_keys(tx))),
    )


def load(tx: Transaction) -> Account:
    """The account, to be used and given to `save` inside this transaction.

    Raises:
        StoreCorrupt: it cannot be opened with the store's key.
    """
    (pickle,) = tx.connection.execute("SELECT pickle FROM olm_account").fetchone()
    try:
        return Account.from_pickle(pickle, tx.me.pickle_key)
    except PickleException as error:
        raise StoreCorrupt(
            "this device's keys cannot be opened: they were changed, or the store's key is another one"
        ) from error


def save(tx: Transaction, account: Account) -> None:
    """Write the account back after use."""
    tx.connection.execute("UPDATE olm_account SET pickle = ?", (account.pickle(tx.me.pickle_key),))


def identity_keys(tx: Transaction) -> tuple[str, str]:
    """This device's (Curve25519, Ed25519) public keys, unpadded base64."""
    curve25519, ed25519 = tx.connection.execute("SELECT curve25519, ed25519 FROM olm_account").fetchone()
    return curve25519, ed25519


def own_device(tx: Transaction) -> Device:
    """This device, with the signature of its owner once the server has told us of that."""
    curve25519, ed25519 = identity_keys(tx)
    (keys,) = tx.connection.execute("SELECT keys FROM device WHERE curve25519 = ?", (curve25519,)).fetchone()
    return Device(tx.me.user_id, tx.me.device_id, curve25519, ed25519, parsed_object(keys) or {})


def sign(tx: Transaction, value: Mapping[str, JSON]) -> JSONObject:
    """The object with this device's signature added."""
    return _signed_by(load(tx), tx, value)


def _signed_by(account: Account, tx: Transaction, value: Mapping[str, JSON]) -> JSONObject:
    key_id = f"ed25519:{tx.me.device_id}"
    return signed(value, tx.me.user_id, key_id, lambda text: account.sign(text).to_base64())


def _signed_keys(tx: Transaction) -> JSONObject:
    """The device keys as they are uploaded (spec "Device keys"). Equal each time: Ed25519 signs without chance."""
    me, (curve25519, ed25519) = tx.me, identity_keys(tx)
    return sign(
        tx,
        {
            "user_id": me.user_id,
            "device_id": me.device_id,
            "algorithms": [OLM, MEGOLM],
            "keys": {f"curve25519:{me.device_id}": curve25519, f"ed25519:{me.device_id}": ed25519},
        },
    )


# -- what the server has ----------------------------------------------------------------------------------
def note_counts(
    tx: Transaction, one_time_keys: Mapping[str, int] | None, fallback_unused: Sequence[str] | None
) -> None:
    """What a sync response says of the keys on the server; None where it says nothing."""
    if one_time_keys is not None:
        tx.connection.execute("UPDATE olm_account SET on_server = ?", (one_time_keys.get(ALGORITHM, 0),))
    if fallback_unused is not None:
        used = ALGORITHM not in fallback_unused
        tx.connection.execute("UPDATE olm_account SET fallback_used = ?", (used,))


def republish(tx: Transaction) -> None:
    """The server does not list this device: upload its keys again."""
    tx.connection.execute("UPDATE olm_account SET published = 0")


def upload(tx: Transaction) -> None:
    """Queue an upload of what the server lacks, unless one is under way.

    The keys and the exact request are stored together, before anything leaves: sent again after a crash, it is the
    same request. Another key under a used id would be refused; so one-time keys go by themselves, and cost nothing
    else when they are.
    """
    if outgoing.under_way(tx, "upload"):
        return
    published, on_server, fallback_at, used, resting = tx.connection.execute(
        "SELECT published, on_server, fallback_at, fallback_used, not_before FROM olm_account"
    ).fetchone()
    now = tx.me.clock()
    if 0 < resting - now <= _REFUSAL_RESTS:  # further off only if the clock was set back
        return
    body: JSONObject = {} if published else {"device_keys": _signed_keys(tx)}
    # A clock that was set back must not keep an old key for ever.
    if fallback_at is None or (used and not 0 <= now - fallback_at < _FALLBACK_SERVES):
        body["fallback_keys"] = _new_fallback_key(tx)
        tx.connection.execute("UPDATE olm_account SET fallback_at = ?, fallback_used = 0", (now,))
    if not body and on_server < ONE_TIME_KEYS:
        body["one_time_keys"] = _new_one_time_keys(tx, ONE_TIME_KEYS - on_server)
    if body:
        parts: list[JSON] = list(body)
        outgoing.queue(tx, "upload", body, purpose={"parts": parts})


def _new_one_time_keys(tx: Transaction, count: int) -> JSONObject:
    account = load(tx)
    account.generate_one_time_keys(count)
    save(tx, account)
    return {
        f"{ALGORITHM}:{key_id}": _signed_by(account, tx, {"key": key.to_base64()})
        for key_id, key in account.one_time_keys.items()
    }


def _new_fallback_key(tx: Transaction) -> JSONObject:
    account = load(tx)
    with_fallback = cast("_Fallback", account)
    with_fallback.generate_fallback_key()  # the one before stays usable
    save(tx, account)
    return {
        f"{ALGORITHM}:{key_id}": _signed_by(account, tx, {"key": key.to_base64(), "fallback": True})
        for key_id, key in with_fallback.fallback_key.items()
    }


# -- answers ----------------------------------------------------------------------------------------------
def uploaded(tx: Transaction, request: Stored, response: Mapping[str, JSON]) -> Received:
    """The server took an upload."""
    _published(tx)
    if "device_keys" in texts_at(request.purpose, "parts"):
        tx.connection.execute("UPDATE olm_account SET published = 1")
    count = object_at(response, "one_time_key_counts").get(ALGORITHM, 0)
    if isinstance(count, int):
        tx.connection.execute("UPDATE olm_account SET on_server = ?", (max(0, min(count, ONE_TIME_KEYS)),))
    return Received()


def refused(tx: Transaction, request: Stored, reason: str) -> Received:
    """The server refused an upload. The next one has other keys, and waits a minute.

    One known cause is that it has other keys under their ids: a copy of this store made them.
    """
    _published(tx)
    if "fallback_keys" in texts_at(request.purpose, "parts"):
        tx.connection.execute("UPDATE olm_account SET fallback_at = NULL")
    tx.connection.execute("UPDATE olm_account SET not_before = ?", (tx.me.clock() + _REFUSAL_RESTS,))
    if "already exists" in reason:
        return Received(problem=CLONED)
    return Received(
        problem=f"the server does not take this device's keys, so nobody can write to it: {reason:.200}"
    )


def _published(tx: Transaction) -> None:
    account = load(tx)
    account.mark_keys_as_published()
    save(tx, account)
