"""Canonical JSON as Matrix defines it, and how many bytes an event may take. Counts bytes, not characters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from matrixdata.errors import RecordInvalid, TooLarge
from matrixdata.protocol.rules import check_wire

if TYPE_CHECKING:
    from matrixdata.model.json import JSON, JSONObject

MAX_EVENT_BYTES = 65_536
"""What a whole event may take as canonical JSON between servers (client-server API, "Size limits")."""

MAX_CONTENT_BYTES = 60_000
"""What we let `content` take. The server adds up to 20 prev_events and 10 auth_events of 47 bytes each
(1,410), hashes (70), its signature and a policy server's (2 x 400), depth and times (100), and keys; type,
room id, sender and state key take 255 bytes each at most (1,020). That is about 3,500 bytes; 5,536 remain
free, because a federated room that heals after a partition is exactly when there are many prev_events."""

MAX_NAME_BYTES = 255
"""What type, state key, room id and sender may take each, in UTF-8."""

MAX_CONTENT_DEPTH = 80
"""Containers inside one another in event content. A record may have 64; Synapse refuses an event somewhere
between 100 and 200 (measured)."""

_SERVER_BYTES = 3_500
"""What the server adds, as reckoned above."""

_MESSAGE_BYTES = 1 + 6 + 4 + 16 + 8 + 64
"""Of a Megolm message beside what it encrypts: version, counter, length, padding, authentication code, signature."""

_ENVELOPE_BYTES = 700
"""Of an encrypted event's content beside its ciphertext: five names (200 with punctuation), two keys of 43, a device
id; a relation is repeated in clear."""


def canonical_json(value: JSON) -> bytes:
    """Matrix's canonical JSON: keys sorted by code point, no spaces, UTF-8, integers within ±(2^53-1).

    Source: Matrix specification, appendix "Canonical JSON".

    Raises:
        RecordInvalid: with every place that the form has no room for, such as a float.
    """
    problems = check_wire(value, depth=MAX_CONTENT_DEPTH)
    if problems:
        raise RecordInvalid(problems, subject="event content")
    # Python's encoder escapes exactly what the appendix asks for, and orders str by code point.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def sealed_size(size: int, *, event_type: str, room_id: str) -> int:
    """At most so many bytes a content of `size` bytes takes once it is encrypted for a room (spec "Megolm").

    The event inside is JSON with its type and room; the message around it has a counter, padding to 16 bytes, an
    authentication code and a signature, and is written in base64; the envelope names algorithm, session and device.
    """
    inside = size + len(canonical_json({"type": event_type, "room_id": room_id, "content": {}}))
    return -(-(inside + _MESSAGE_BYTES) // 3) * 4 + _ENVELOPE_BYTES


def check_size(
    content: JSONObject,
    *,
    event_type: str,
    room_id: str,
    sender: str,
    state_key: str | None = None,
    encrypted: bool = False,
) -> int:
    """Refuse an event that a homeserver might refuse for its size; `encrypted`: as it is once it is encrypted.

    Returns:
        The bytes that `content` takes as canonical JSON, encrypted if it is to be.

    Raises:
        TooLarge: the content takes more than MAX_CONTENT_BYTES, one of the four names more than 255, or
            all together more than an event has room for.
        RecordInvalid: the content is not fit for canonical JSON.
    """
    names: JSONObject = {"type": event_type, "room_id": room_id, "sender": sender}
    if state_key is not None:
        names["state_key"] = state_key
    for name, text in names.items():
        size = len(str(text).encode(errors="surrogatepass"))
        if size > MAX_NAME_BYTES:
            raise TooLarge(size, MAX_NAME_BYTES, advice=f"Choose a shorter {name}.")
    size = len(canonical_json(content))
    if encrypted:
        size = sealed_size(size, event_type=event_type, room_id=room_id)
    if size > MAX_CONTENT_BYTES:
        raise TooLarge(size, MAX_CONTENT_BYTES)
    # Names full of control characters take six bytes for each one.
    whole = size + len(canonical_json(names))
    if whole > MAX_EVENT_BYTES - _SERVER_BYTES:
        raise TooLarge(whole, MAX_EVENT_BYTES - _SERVER_BYTES)
    return size
