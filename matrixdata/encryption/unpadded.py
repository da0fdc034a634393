"""Unpadded base64, as Matrix writes bytes (spec appendix "Unpadded Base64")."""

from __future__ import annotations

import base64
import binascii


def encoded(data: bytes) -> str:
    """The bytes as text."""
    return base64.b64encode(data).decode().rstrip("=")


def decoded(text: str) -> bytes | None:
    """The bytes that the text stands for; None where it stands for none. Padding may be there."""
    bare = text.rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
