"""Keys as people write them down (spec appendix "Cryptographic key representation"): base58 in groups of four."""

from __future__ import annotations

from functools import reduce
from operator import xor

from matrixdata.errors import WrongKey
from matrixdata.model.hidden import HiddenBytes

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PREFIX = b"\x8b\x01"
_KEY = 32
_LONGEST = 200  # characters; a key takes 48, and turning a long text into a number takes long


def shown(key: bytes) -> str:
    """The key for people to keep: 48 letters and digits in groups of four.

    Args:
        key: 32 bytes.
    """
    raw = _PREFIX + key
    raw += bytes([reduce(xor, raw)])
    number, text = int.from_bytes(raw), ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def read(text: str) -> HiddenBytes:
    """The key that somebody typed; spaces do not matter.

    Returns:
        32 bytes.

    Raises:
        WrongKey: it is not a key, or is mistyped; the message does not repeat it.
    """
    key, problem = _parsed(text)
    del text  # a traceback that shows variables must not show it
    if key is None:
        raise WrongKey(problem)
    return key


def _parsed(text: str) -> tuple[HiddenBytes | None, str]:
    """The key, or what is wrong; raises nothing, so that no traceback shows what was typed."""
    bare = "".join(text.split())
    if not bare or len(bare) > _LONGEST or not set(bare) <= set(_ALPHABET):
        return None, "this is not a recovery key: it has 48 letters and digits, never 0, O, I or l"
    number = 0
    for letter in bare:
        number = number * 58 + _ALPHABET.index(letter)
    raw = number.to_bytes(-(-number.bit_length() // 8))
    if len(raw) != len(_PREFIX) + _KEY + 1:
        return None, "this is not a whole recovery key: characters are missing, or there are too many"
    if not raw.startswith(_PREFIX):
        return None, "this is not a recovery key: those begin with Es"
    if reduce(xor, raw) != 0:
        return None, "the recovery key is mistyped: its check digit does not fit"
    return HiddenBytes(raw[len(_PREFIX) : -1]), ""
