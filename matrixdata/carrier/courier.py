"""Takes the engine's requests to the server and the answers back to the engine.

A request stands in the store until it is answered, so whatever happens on the way, it is sent again as it is; each of
them may be sent twice. That one process at a time sends for a store only saves the others the effort.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from matrixdata.errors import LoggedOut, MatrixDataError, Rejected, Unknown, Unsupported
from matrixdata.model.steps import reached
from matrixdata.protocol import key_requests
from matrixdata.protocol.sync import decode
from matrixdata.transport.caller import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.carrier.keys import Keys
    from matrixdata.encryption.port import Outgoing
    from matrixdata.protocol.requests import Request
    from matrixdata.replica.lease import Lease
    from matrixdata.transport.caller import Caller

log = logging.getLogger("matrixdata.carrier")

# Seconds for which another process on the store is left to send what it is at.
_OVERLAP = 3.0
_LOOK = 0.05
# Seconds between two looks when nobody wakes it.
_REST = 30.0


class Courier:
    """Delivers what the engine wants sent."""

    def __init__(self, keys: Keys, caller: Caller, lease: Lease, *, chance: Callable[[], float]) -> None:
        self._keys = keys
        self._caller = caller
        self._lease = lease
        self._chance = chance
        self._wake = anyio.Event()
        self._turn = anyio.Lock()
        caller.on_recovery.append(self.wake)
        keys.wake = self.wake

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver what there is, and again when woken, for as long as it is not cancelled."""
        backoff, failures = Backoff(), 0
        while True:
            self._wake = anyio.Event()
            pause = _REST  # some requests rest for a while before they are due again
            try:
                await self.deliver()
                failures = 0
            except LoggedOut:
                failures = 0
            except (MatrixDataError, OSError) as error:
                failures += 1
                pause = max(backoff.delay(failures, self._chance), getattr(error, "retry_after", 0.0))
                log.info("key requests are not sent yet (%s); again in %.1f s", error, pause)
            with anyio.move_on_after(pause):
                await self._wake.wait()

    async def deliver(self) -> None:
        """Send all that is to be sent now, in order, and hand in the answers.

        Raises:
            NotSent, Unknown, RateLimited, LoggedOut: it is sent again, by the next call.
        """
        async with self._turn:
            sent: set[str] = set()
            try:
                while fresh := await self._waiting(sent):
                    await self._alone()
                    for request in fresh:
                        await self._send(request)
                        sent.add(request.id)
            finally:
                self._lease.release()

    async def _waiting(self, sent: set[str]) -> list[Outgoing]:
        waiting = await self._keys.write(lambda engine, c: engine.outgoing(c))
        return [request for request in waiting if request.id not in sent]

    async def _alone(self) -> None:
        """Wait a little while another process sends; should it stand still, both send, which is harmless."""
        with anyio.move_on_after(_OVERLAP):
            while not self._lease.acquire():  # noqa: ASYNC110  the lock of another process sets no event
                await anyio.sleep(_LOOK)

    async def _send(self, request: Outgoing) -> None:
        reached("keys.1 sending")
        try:
            answer = decode(await self._caller.call(_as_request(request), patience=0))
            if not isinstance(answer, dict):
                raise Unknown("the server's answer is no JSON object")
        except LoggedOut:
            raise
        except (Rejected, Unsupported) as error:
            reason = str(error)
            received = await self._keys.write(lambda engine, c: engine.refused(c, request.id, reason))
        else:
            reached("keys.2 answered")
            received = await self._keys.write(lambda engine, c: engine.answered(c, request.id, answer))
        reached("keys.3 stored")
        await self._keys.tell(received)


def _as_request(request: Outgoing) -> Request:
    if request.kind == "to_device":
        return key_requests.send_to_device(request.event_type, request.id, request.body)
    return {
        "upload": key_requests.keys_upload,
        "query": key_requests.keys_query,
        "claim": key_requests.keys_claim,
        "signatures": key_requests.signatures_upload,
    }[request.kind](request.body)
