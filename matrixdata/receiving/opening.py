"""Decrypting what came: a page at a time, in one transaction of account.db, before anything of it is judged.

Nothing that came encrypted raises: it is readable, or there is a reason why not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from matrixdata.carrier.audience import ENCRYPTED
from matrixdata.encryption.port import Clear, Session, Undecryptable
from matrixdata.protocol.rules import is_text
from matrixdata.replica.rows import Decryption

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from matrixdata.carrier import Keys
    from matrixdata.encryption.engine import Engine
    from matrixdata.protocol.events import Event

_LONGEST_TYPE = 255
# Other devices of our own may have the key.
_ASKED_FOR = frozenset({"no_key", "withheld", "too_early"})


class Opened(msgspec.Struct, frozen=True):
    """An event that came encrypted.

    Attributes:
        event: as its sender wrote it; as it came where it cannot be read.
        decryption: how it was read, or why not.
    """

    event: Event
    decryption: Decryption

    @property
    def is_readable(self) -> bool:
        """Whether it could be decrypted."""
        return self.decryption.cause is None


class Opening:
    """Decrypts for one client."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def open(self, room_id: str, events: Sequence[Event]) -> Mapping[str, Opened]:
        """What these events are, by event id; of those only that came encrypted and whole."""
        sealed = [event for event in events if _is_sealed(event)]
        if not sealed:
            return {}

        def work(engine: Engine, c: sqlite3.Connection) -> tuple[list[Clear | Undecryptable], bool]:
            found = engine.decrypt(c, room_id, sealed)
            lacking = {
                it.session_id for it in found if isinstance(it, Undecryptable) and it.cause in _ASKED_FOR
            }
            asked = engine.ask_for_keys(c, [Session(room_id, it) for it in sorted(filter(None, lacking))])
            return found, asked > 0

        found, asked = await self._keys.write(work)
        if asked:
            self._keys.wake()
        return {event.event_id: _opened(event, clear) for event, clear in zip(sealed, found, strict=True)}


def _is_sealed(event: Event) -> bool:
    return event.type == ENCRYPTED and event.state_key is None and not (event.fault or event.redacted)


def _opened(event: Event, found: Clear | Undecryptable) -> Opened:
    if isinstance(found, Clear) and not _is_type(found.type):
        found = Undecryptable("corrupt", "what it holds is no event", found.session_id)
    if isinstance(found, Undecryptable):
        return Opened(event, Decryption(found.session_id, cause=found.cause, detail=found.detail))
    itself = replace(event, type=found.type, content=found.content, redacts=None)
    return Opened(itself, Decryption(found.session_id, found.device_id, found.standing))


def _is_type(text: str) -> bool:
    return is_text(text) and len(text.encode()) <= _LONGEST_TYPE
