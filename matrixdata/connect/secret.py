"""Passwords and tokens on their way in: kept out of every repr, and so out of tracebacks that show variables."""

from __future__ import annotations


class Secret:
    """A text that is shown only to who asks for it by name."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "<secret>"

    @property
    def is_text(self) -> bool:
        """Whether it can be sent at all: half a surrogate pair cannot."""
        try:
            self.text.encode()
        except UnicodeEncodeError:
            return False
        return True


def hidden(text: str | None) -> Secret | None:
    """The text as a Secret; None stays None."""
    return None if text is None else Secret(text)
