"""A logged-in device and its tokens, as they are stored and used. No repr shows a token."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Session:
    """A logged-in device.

    Attributes:
        access_token: None once logged out from here.
        refresh_token: gets the next access token; None where the server gave none.
        lifetime: seconds that the access token serves; None: until it is revoked.
        obtained_at: when it was given, microseconds since 1970 UTC by this machine's clock, which may be wrong.
    """

    homeserver: str
    user_id: str
    device_id: str
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    lifetime: float | None = None
    obtained_at: int = 0

    def remaining(self, now: int) -> float:
        """Seconds that the access token still serves, as far as the clock can tell: between 0 and its lifetime.

        A clock that is wrong makes it be renewed too early, or makes the server be the one to say that it has
        expired; neither does harm.

        Args:
            now: microseconds since 1970 UTC.
        """
        if self.lifetime is None:
            return math.inf
        passed = (now - self.obtained_at) / 1e6
        return min(max(self.lifetime - passed, 0.0), self.lifetime)
