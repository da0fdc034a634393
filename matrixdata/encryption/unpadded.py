"""Base64 without padding (spec appendix "Unpadded Base64"), as keys and signatures are written."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode


def encoded(data: bytes) -> str:
    """Base64 without its padding."""
    return b64encode(data).decode().rstrip("=")


def decoded(text: object, *, length: int | None = None) -> bytes | None:
    """The bytes; padding may be there, as some clients write it. None for anything else: it is from strangers.

    Args:
        text: what should be base64.
        length: how many bytes it must be; None: any.
    """
    if not isinstance(text, str):
        return None
    bare = text.rstrip("=")
    try:
        data = b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if length is None or len(data) == length else None
