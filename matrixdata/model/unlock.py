"""What there is to make a new device its account's own with, without a person. No repr shows any of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from matrixdata.model.hidden import HiddenBytes


class Text(Protocol):
    """A text that no repr shows."""

    @property
    def text(self) -> str: ...  # noqa: D102  the secret itself


@dataclass(frozen=True, slots=True)
class Unlock:
    """What came with the login.

    Attributes:
        password: of the account, where it has just logged in.
        recovery_key: as a person gave it.
        insists: the recovery key was given for this account: that it does not fit is an error.
        own_recovery: for an account of an embedded homeserver, the 32 bytes of its recovery key; None elsewhere.
    """

    password: Text | None = field(default=None, repr=False)
    recovery_key: Text | None = field(default=None, repr=False)
    insists: bool = True
    own_recovery: Callable[[], HiddenBytes] | None = field(default=None, repr=False)
