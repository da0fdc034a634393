"""What the flow of trust works with: transactions of the engine, the carrier of its requests, and the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from matrixdata.errors import Rejected, Unknown
from matrixdata.protocol import identity_requests
from matrixdata.protocol.sync import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matrixdata.encryption.port import Received
    from matrixdata.encryption.transaction import Transaction
    from matrixdata.model.json import JSON, JSONObject
    from matrixdata.model.session import Session
    from matrixdata.protocol.requests import Request
    from matrixdata.transport.caller import Caller

T = TypeVar("T")


class Keys(Protocol):
    """Transactions of the encryption engine.

    Attributes:
        problem: what only the user can mend, in a sentence; "" when nothing is known.
    """

    problem: str

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction; its result once that is committed."""
        ...

    async def look(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one committed moment."""
        ...

    async def tell(self, received: Received) -> None:
        """Something changed that others wait for."""
        ...


class Courier(Protocol):
    """Takes the engine's stored requests to the server."""

    async def deliver(self) -> None:
        """Send all that is to be sent now, and hand in the answers."""
        ...


class Desk(msgspec.Struct, frozen=True):
    """One client's.

    Attributes:
        who: the session now.
        clock: microseconds since 1970 UTC.
        new_id: fresh ids of at least 128 random bits.
    """

    keys: Keys
    courier: Courier
    caller: Caller
    who: Callable[[], Session]
    clock: Callable[[], int]
    new_id: Callable[[], str]

    @property
    def user_id(self) -> str:
        """Whose account it is."""
        return self.who().user_id

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction; its result once that is committed."""
        return await self.keys.transact(work)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one committed moment."""
        return await self.keys.look(work)

    async def call(self, request: Request, *, patience: float = 30.0) -> JSONObject:
        """Send a request; the object it is answered with.

        Raises:
            Unknown: the answer is none.
            NotSent, RateLimited, Rejected, LoggedOut, Unsupported: as `Caller.call`.
        """
        answer = decode(await self.caller.call(request, patience=patience))
        if not isinstance(answer, dict):
            raise Unknown("the server's answer is no JSON object")
        return answer

    async def found(self, request: Request) -> JSONObject | None:
        """As `call`; None where the server says that there is no such thing."""
        try:
            return await self.call(request)
        except Rejected as error:
            if error.status == 404:
                return None
            raise

    async def account_data(self, event_type: str) -> JSONObject | None:
        """The account's own note of that type; None where there is none."""
        return await self.found(identity_requests.account_data(self.user_id, event_type))

    async def set_account_data(self, event_type: str, content: Mapping[str, JSON]) -> None:
        """Put the account's own note of that type."""
        await self.call(identity_requests.set_account_data(self.user_id, event_type, content))
