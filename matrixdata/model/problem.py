"""One reason why a value was refused: where, which rule, what stood there."""

from __future__ import annotations

from dataclasses import dataclass


def safe_text(text: str) -> str:
    """Text from others, made inert for terminals and logs: control and format characters are escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def shown(value: object, most: int = 80) -> str:
    """A short, printable repr of any value, for messages. Never longer than `most` characters."""
    if isinstance(value, str):
        text = repr(value[: most + 1])
    elif isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        # Python refuses to print integers of thousands of digits; a message must not raise.
        text = f"an integer of {value.bit_length()} bits"
    elif isinstance(value, (dict, list, tuple, set, frozenset)) and len(value) > 20:
        text = f"a {type(value).__name__} of {len(value)} items"
    else:
        try:
            text = repr(value)
        except Exception:  # noqa: BLE001  a foreign __repr__ may raise anything, and this runs inside an error
            text = f"a {type(value).__name__}"
    text = safe_text(text)
    return text if len(text) <= most else text[: most - 1] + "…"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one place in a document is refused.

    Attributes:
        pointer: JSON Pointer (RFC 6901) of the place; "" is the whole document.
        rule: the rule that was broken: a JSON Schema keyword such as "minimum", or one of ours such as
            "finite" or "unicode".
        message: one sentence for people, without the pointer.
        value: a short printable form of what stood there.
    """

    pointer: str
    rule: str
    message: str
    value: str = ""

    def __str__(self) -> str:
        return f"{safe_text(self.pointer) or '(the whole document)'}: {safe_text(self.message)} [{self.rule}]"
