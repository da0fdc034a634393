"""What can be an id: of a room, a session, a device, a request."""

from __future__ import annotations

from matrixdata.protocol.canonical import MAX_NAME_BYTES


def are_names(*texts: str) -> bool:
    """Whether each is as long as an id may be, not empty, and text that can be stored (no half surrogates)."""
    try:
        return all(0 < len(text.encode()) <= MAX_NAME_BYTES for text in texts)
    except UnicodeError:
        return False
