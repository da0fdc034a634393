"""AsyncVerification: one verification as a person meets it: compare, then say yes or no."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from matrixdata.encryption.verification_messages import REASONS
from matrixdata.errors import NotVerified
from matrixdata.model.problem import safe_text

if TYPE_CHECKING:
    from matrixdata.encryption.sas import ShortString
    from matrixdata.encryption.verification import State
    from matrixdata.identity.verifying import Asked, Verifications

_LOOK = 0.1
"""Seconds between two looks for what the other side said: another process may be the one that syncs."""


class AsyncVerification:
    """A verification with another device. Made by `client.keys.verify` and `client.keys.requests`.

    Both people see seven emoji and three numbers, and compare them over something that nobody can fake, such as a
    look at both screens.
    """

    def __init__(self, verifications: Verifications, asked: Asked) -> None:
        self._verifications = verifications
        self._asked = asked

    def __repr__(self) -> str:
        return safe_text(f"<Verification with {self.user_id} {self.device_id or ''}, {self.state}>")

    @property
    def user_id(self) -> str:
        """Whose device it is with."""
        return self._asked.user_id

    @property
    def device_id(self) -> str | None:
        """Which device; None while none of those asked has taken it up."""
        if self._asked.verification is not None:
            return self._asked.verification.other.device_id
        return next(iter(self._asked.parties)) if len(self._asked.parties) == 1 else None

    @property
    def state(self) -> State:
        """Where it is: "asked", "ready", "agreeing", "comparing", "waiting", "done" or "cancelled"."""
        if self._asked.verification is not None:
            return self._asked.verification.state
        return "asked" if self._asked.refused is None else "cancelled"

    @property
    def why(self) -> str:
        """Why it was cancelled; "" while it was not."""
        if self._asked.verification is not None:
            return self._asked.verification.why
        code = self._asked.refused
        return (
            "" if code is None else f"cancelled: {REASONS.get(code, 'for a reason that is not known here')}"
        )

    async def compare(self, *, timeout: float = 300.0) -> ShortString:
        """What to compare: `.emoji`, `.numbers`, or print it. Says yes to a request of theirs, and waits for them.

        Args:
            timeout: seconds to wait for the other side.

        Raises:
            NotVerified: they refused, or did not answer in time; nothing was verified.
        """
        if not self._asked.by_us and self._asked.verification is None:
            await self._verifications.take_up(self._asked)
        await self._until({"comparing", "waiting", "done"}, timeout)
        verification = self._asked.verification
        if verification is None or verification.string is None:
            raise NotVerified(f"this verification ended before there was anything to compare; {self.why}")
        return verification.string

    async def confirm(self, *, timeout: float = 300.0) -> None:
        """The strings are the same on both sides. Returns once the other side has said so too.

        Args:
            timeout: seconds to wait for the other side.

        Raises:
            NotVerified: the other side said no, or nothing; or its keys are not those that its server lists.
        """
        verification = self._asked.verification
        if verification is None or verification.string is None:
            raise NotVerified("there is nothing to confirm yet: compare() first")
        await self._verifications.act(self._asked, verification.confirm())
        await self._until({"done"}, timeout)

    async def refuse(self) -> None:
        """The strings differ, or this should not go on: end it. The other side is told."""
        verification = self._asked.verification
        if verification is None:
            await self._verifications.withdraw(self._asked)
        elif verification.state == "comparing":
            await self._verifications.act(self._asked, verification.differ())
        else:
            await self._verifications.act(self._asked, verification.cancel())

    async def _until(self, states: set[State], timeout: float) -> None:
        with anyio.move_on_after(timeout) as scope:
            while not self._is_in(states):
                await self._verifications.attend()
                if not self._is_in(states):
                    await anyio.sleep(_LOOK)
        if scope.cancelled_caught:
            await self.refuse()
            raise NotVerified(f"{self.user_id} did not answer within {timeout:g} s; nothing was verified")
        if self.state == "cancelled":
            raise NotVerified(f"the verification with {self.user_id} was {self.why}; nothing was verified")
        await self._verifications.attend()

    def _is_in(self, states: set[State]) -> bool:
        return self.state in states or self.state == "cancelled"
