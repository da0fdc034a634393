"""Bytes and text that hold a secret: real ones for whoever sends or reads them, without content where shown."""

from __future__ import annotations


class HiddenBytes(bytes):
    """Bytes whose repr, and so any traceback that shows variables, says only that they are there."""

    def __repr__(self) -> str:
        return "<hidden bytes>"

    __str__ = __repr__


class HiddenText(str):
    """The same for text, such as a recovery key or a passphrase."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden text>"
