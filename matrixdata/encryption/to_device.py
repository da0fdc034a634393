"""Taking what one sync response brings: to-device events, changed device lists, key counts, and the token after them.

All of it in one transaction: a token that is stored stands for messages that are.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from matrixdata.encryption import (
    device_keys,
    device_lists,
    history,
    inbound,
    key_requests,
    olm_decryption,
    sharing,
    withheld,
)
from matrixdata.encryption.olm_order import in_order
from matrixdata.encryption.port import OLM, Received, Session, ToDevice
from matrixdata.encryption.reading import is_sane, json_text, parsed_object

if TYPE_CHECKING:
    from matrixdata.encryption.olm_decryption import Decrypted
    from matrixdata.encryption.port import SyncChanges
    from matrixdata.encryption.transaction import Transaction

log = logging.getLogger("matrixdata.encryption")

_FOR_OTHERS = ("m.key.verification.", "m.secret.")
_ONLY_ENCRYPTED = ("m.room_key", "m.forwarded_room_key", "m.secret.send", "m.room_key_bundle")
"""In clear, they could be from the server: a key or a secret that somebody planted (CVE-2022-39251)."""

_MOST_WAITING = 1_000  # in the inbox; the oldest go first
_LONGEST = 100_000  # bytes of an event in the inbox
_INBOX = "inbox"


def receive(tx: Transaction, changes: SyncChanges) -> Received:
    """Take a sync response. Nothing in it raises; what is not understood or not believed is logged.

    Raises:
        StoreCorrupt: our own keys cannot be opened.
    """
    news = _News()
    for event in _decrypted(tx, changes.to_device):
        if isinstance(event, ToDevice):
            _take_clear(tx, event, news)
        else:
            _take_encrypted(tx, event, news)
    device_keys.note_counts(tx, changes.one_time_keys, changes.fallback_unused)
    device_lists.mark_stale(tx, changes.changed)
    device_lists.untrack(tx, changes.left)
    if changes.token is not None:
        tx.connection.execute("UPDATE olm_account SET token = ?", (changes.token,))
    if changes.to_device:
        olm_decryption.forget_old(tx)
    if changes.changed or changes.to_device:
        key_requests.answer(tx)
    return Received(frozenset(news.sessions), frozenset(changes.changed), news.waiting)


def token(tx: Transaction) -> str | None:
    """Where the to-device stream goes on."""
    row = tx.connection.execute("SELECT token FROM olm_account").fetchone()
    return str(row[0]) if row and row[0] is not None else None


def inbox(tx: Transaction) -> list[tuple[int, ToDevice]]:
    """Events for others than the engine (verifications, secrets), each with its number, in the order of arrival."""
    rows = tx.connection.execute(
        "SELECT id, type, sender, sealed, sender_key, device_id FROM inbox ORDER BY id"
    )
    return [
        (
            number,
            ToDevice(kind, sender, parsed_object(tx.unseal(sealed, _INBOX)) or {}, sender_key, device_id),
        )
        for number, kind, sender, sealed, sender_key, device_id in rows
    ]


def taken(tx: Transaction, number: int) -> None:
    """An event of the inbox was dealt with."""
    tx.connection.execute("DELETE FROM inbox WHERE id = ?", (number,))


@dataclass(slots=True)
class _News:
    """What came of the events so far."""

    waiting: bool = False
    sessions: set[Session] = field(default_factory=set)

    def session(self, changed: Session | None) -> None:
        if changed is not None:
            self.sessions.add(changed)


# -- one by one -------------------------------------------------------------------------------------------
def _decrypted(tx: Transaction, events: tuple[ToDevice, ...]) -> list[ToDevice | Decrypted]:
    """The events in clear as they came, then those that could be decrypted."""
    own_key, _ = device_keys.identity_keys(tx)
    clear: list[ToDevice | Decrypted] = []
    messages = []
    for event in events:
        if not is_sane(event.content):
            log.info("ignored a %r of %s that no event can hold", event.type, event.sender)
        elif event.type != "m.room.encrypted":
            clear.append(event)
        elif event.content.get("algorithm") != OLM:
            log.info("ignored a to-device message of %s in an algorithm that is not for them", event.sender)
        else:
            message = olm_decryption.message_for(own_key, event)
            if message is None:
                log.info("ignored an encrypted message of %s that is not for this device", event.sender)
            else:
                messages.append(message)
    account = olm_decryption.AccountAtWork(tx)
    opened = (olm_decryption.decrypt(tx, it, account) for it in in_order(messages))
    return clear + [it for it in opened if it is not None]


def _take_clear(tx: Transaction, event: ToDevice, news: _News) -> None:
    if event.type in _ONLY_ENCRYPTED:
        log.warning("ignored a %s of %s that was not encrypted", event.type, event.sender)
    elif event.type.startswith(_FOR_OTHERS):
        news.waiting |= _keep(tx, event)
    elif event.type == "m.room_key.withheld":
        news.session(withheld.receive(tx, event))
    elif event.type == "m.room_key_request":
        key_requests.receive_request(tx, event)
    else:
        log.info("ignored a to-device event of type %r of %s", event.type, event.sender)


def _take_encrypted(tx: Transaction, decrypted: Decrypted, news: _News) -> None:
    event = decrypted.event
    if event.type.startswith(_FOR_OTHERS):
        news.waiting |= _keep(tx, event)
        return
    match event.type:
        case "m.room_key":
            news.session(inbound.receive_room_key(tx, event, decrypted.ed25519))
        case "m.forwarded_room_key":
            news.session(key_requests.receive_forwarded(tx, event))
        case "m.room_key_bundle" | "io.element.msc4268.room_key_bundle":
            news.waiting |= history.receive(tx, event)
        case "m.room_key.withheld":
            news.session(withheld.receive(tx, event))
        case "m.dummy":
            sharing.give_again(tx, event.sender_key or "")
        case _:
            log.info("ignored an encrypted to-device event of type %r of %s", event.type, event.sender)


def _keep(tx: Transaction, event: ToDevice) -> bool:
    content = json_text(event.content)
    if len(content) > _LONGEST:
        log.info("ignored a %s of %s that is too long", event.type, event.sender)
        return False
    c = tx.connection
    c.execute(
        "INSERT INTO inbox (type, sender, sealed, sender_key, device_id, at) VALUES (?, ?, ?, ?, ?, ?)",
        (
            event.type,
            event.sender,
            tx.seal(content, _INBOX),
            event.sender_key,
            event.device_id,
            tx.me.clock(),
        ),
    )
    gone = c.execute(
        "DELETE FROM inbox WHERE id <= (SELECT id FROM inbox ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (_MOST_WAITING,),
    ).rowcount
    if gone:
        log.warning("dropped %d verification messages or secrets that nobody asked for", gone)
    return True
