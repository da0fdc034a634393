"""Short authentication strings (spec "Short Authentication String (SAS) verification"): what is computed."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from matrixdata.encryption.unpadded import encoded
from matrixdata.protocol.canonical import canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vodozemac import EstablishedSas

    from matrixdata.model.json import JSON

METHOD: Final = "m.sas.v1"
AGREEMENT: Final = "curve25519-hkdf-sha256"
HASH: Final = "sha256"
MAC: Final = "hkdf-hmac-sha256.v2"
# Deprecated, with a mistake in its base64. matrix-nio 0.26 knows only this name, and makes no mistake (measured).
OLD_MAC: Final = "hkdf-hmac-sha256"
MACS: Final = (MAC, OLD_MAC)
STRINGS: Final = ("decimal", "emoji")

_EMOJI = (
    "🐶 Dog, 🐱 Cat, 🦁 Lion, 🐎 Horse, 🦄 Unicorn, 🐷 Pig, 🐘 Elephant, 🐰 Rabbit, 🐼 Panda, 🐓 Rooster, "
    "🐧 Penguin, 🐢 Turtle, 🐟 Fish, 🐙 Octopus, 🦋 Butterfly, 🌷 Flower, 🌳 Tree, 🌵 Cactus, 🍄 Mushroom, "
    "🌏 Globe, 🌙 Moon, ☁️ Cloud, 🔥 Fire, 🍌 Banana, 🍎 Apple, 🍓 Strawberry, 🌽 Corn, 🍕 Pizza, 🎂 Cake, "
    "❤️ Heart, 😀 Smiley, 🤖 Robot, 🎩 Hat, 👓 Glasses, 🔧 Spanner, 🎅 Santa, 👍 Thumbs Up, ☂️ Umbrella, "
    "⌛ Hourglass, ⏰ Clock, 🎁 Gift, 💡 Light Bulb, 📕 Book, ✏️ Pencil, 📎 Paperclip, ✂️ Scissors, "
    "🔒 Lock, 🔑 Key, 🔨 Hammer, ☎️ Telephone, 🏁 Flag, 🚂 Train, 🚲 Bicycle, ✈️ Aeroplane, 🚀 Rocket, "
    "🏆 Trophy, ⚽ Ball, 🎸 Guitar, 🎺 Trumpet, 🔔 Bell, ⚓ Anchor, 🎧 Headphones, 📁 Folder, 📌 Pin"
)
EMOJI: Final = tuple((pair.split(" ", 1)[0], pair.split(" ", 1)[1]) for pair in _EMOJI.split(", "))
"""The 64 emoji of the spec (sas-emoji.json), each with its English name."""


@dataclass(frozen=True, slots=True)
class Party:
    """One side of a verification, with its keys as they were when it began; later changes do not count (A10).

    Attributes:
        ed25519: the device's fingerprint.
        master: the user's master key; for our own side None unless we know it to be ours.
    """

    user_id: str
    device_id: str
    ed25519: str
    master: str | None = None

    @property
    def keys(self) -> dict[str, str]:
        """What is verified: key ids and public keys."""
        of_device = {f"ed25519:{self.device_id}": self.ed25519}
        return of_device if self.master is None else {f"ed25519:{self.master}": self.master, **of_device}


class ShortString(msgspec.Struct, frozen=True):
    """What both people compare.

    Attributes:
        emoji: seven of them, each with its name; empty where the other side cannot show them.
        numbers: three from 1000 to 9191.
    """

    emoji: tuple[tuple[str, str], ...]
    numbers: tuple[int, int, int]

    def __str__(self) -> str:
        """All of it, for people."""
        numbers = " ".join(map(str, self.numbers))
        pictures = "  ".join(f"{symbol} {name}" for symbol, name in self.emoji)
        return f"{pictures}   ({numbers})" if pictures else numbers


def commitment(public_key: str, start: Mapping[str, JSON]) -> str:
    """What binds the accepting side to its key before it sees the other's, as the starting side expects it.

    Args:
        public_key: its ephemeral key, unpadded base64.
        start: the content of m.key.verification.start.

    Raises:
        RecordInvalid: that content cannot be canonical JSON.
    """
    digest = _committed(public_key, start)
    # matrix-nio 0.26 spells the hash in hexadecimal, and nobody else offers this alone (measured).
    by_nio = start.get("message_authentication_codes") == [OLD_MAC]
    return digest.hex() if by_nio else encoded(digest)


def is_committed(given: JSON, public_key: str, start: Mapping[str, JSON]) -> bool:
    """Whether the other side had bound itself to this key, however it spells the hash."""
    digest = _committed(public_key, start)
    text = given.rstrip("=") if isinstance(given, str) else ""
    return text in {encoded(digest), digest.hex()}


def _committed(public_key: str, start: Mapping[str, JSON]) -> bytes:
    return hashlib.sha256(public_key.encode() + canonical_json(dict(start))).digest()


def short_string(
    secret: EstablishedSas, starter: tuple[Party, str], accepter: tuple[Party, str], transaction: str
) -> ShortString:
    """What to show.

    Args:
        secret: the shared secret.
        starter: who sent the start that counts, and their ephemeral key.
        accepter: who sent accept, and their ephemeral key.
        transaction: the verification's id.
    """
    sides = [f"{party.user_id}|{party.device_id}|{key}" for party, key in (starter, accepter)]
    made = secret.bytes("|".join(["MATRIX_KEY_VERIFICATION_SAS", *sides, transaction]))
    return ShortString(tuple(EMOJI[number] for number in made.emoji_indices), made.decimals)


@dataclass(frozen=True, slots=True)
class Authentication:
    """The MACs of one verification: they say that the keys a device shows are the keys its holder meant.

    Attributes:
        method: how MACs are written, as agreed.
    """

    secret: EstablishedSas = field(repr=False)
    transaction: str
    method: str

    def macs(self, sender: Party, receiver: Party, *, as_of_old: bool = False) -> tuple[dict[str, str], str]:
        """Of each of the sender's keys, and of the list of their ids.

        Args:
            sender: whose keys.
            receiver: for whom.
            as_of_old: write the old method's base64 as libolm did.
        """
        keys = sender.keys
        made = {each: self._mac(keys[each], sender, receiver, each, as_of_old) for each in keys}
        return made, self._mac(",".join(sorted(keys)), sender, receiver, "KEY_IDS", as_of_old)

    def verified(
        self, sender: Party, receiver: Party, macs: Mapping[str, JSON], key_list: JSON
    ) -> tuple[str, ...] | None:
        """The sender's public keys that these MACs vouch for; None where one does not fit, or there is none."""
        listed = ",".join(sorted(macs))
        if not self._fits(key_list, listed, sender, receiver, "KEY_IDS"):
            return None
        known = {each: key for each, key in sender.keys.items() if each in macs}
        fit = all(self._fits(macs[each], key, sender, receiver, each) for each, key in known.items())
        return tuple(known.values()) if known and fit else None

    def writes_as_of_old(
        self, sender: Party, receiver: Party, macs: Mapping[str, JSON], key_list: JSON
    ) -> bool:
        """Whether the other side writes base64 as libolm did."""
        made = self._mac(",".join(sorted(macs)), sender, receiver, "KEY_IDS", as_of_old=True)
        return self.method == OLD_MAC and key_list == made

    def _fits(self, mac: JSON, value: str, sender: Party, receiver: Party, key_id: str) -> bool:
        ways = (False, True) if self.method == OLD_MAC else (False,)
        made = [self._mac(value, sender, receiver, key_id, way).encode() for way in ways]
        given = mac.rstrip("=").encode(errors="replace") if isinstance(mac, str) else b""
        return any(hmac.compare_digest(given, each) for each in made)

    def _mac(self, value: str, sender: Party, receiver: Party, key_id: str, as_of_old: bool) -> str:
        info = (
            f"MATRIX_KEY_VERIFICATION_MAC{sender.user_id}{sender.device_id}"
            f"{receiver.user_id}{receiver.device_id}{self.transaction}{key_id}"
        )
        if as_of_old and self.method == OLD_MAC:
            return self.secret.calculate_mac_invalid_base64(value, info)
        return self.secret.calculate_mac(value, info)
