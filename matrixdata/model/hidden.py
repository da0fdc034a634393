"""Bytes that hold a password or token: real bytes for whoever sends or reads them, without content where shown."""

from __future__ import annotations


class HiddenBytes(bytes):
    """Bytes whose repr, and so any traceback that shows variables, says only that they are there."""

    def __repr__(self) -> str:
        return "<hidden bytes>"

    __str__ = __repr__
