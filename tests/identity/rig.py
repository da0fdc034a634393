"""Devices on the real server with the engine, the flow of trust, and nothing else of the library around them."""

from __future__ import annotations

import sqlite3
import time
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio

from matrixdata import homeserver
from matrixdata.encryption.engine import Engine
from matrixdata.encryption.port import SyncChanges, ToDevice
from matrixdata.encryption.transaction import Me, Transaction
from matrixdata.errors import Rejected
from matrixdata.identity.desk import Desk
from matrixdata.identity.gossip import Gossip
from matrixdata.identity.keys import AsyncKeys
from matrixdata.identity.upkeep import Upkeep
from matrixdata.identity.verifying import Verifications
from matrixdata.model.session import Session
from matrixdata.model.unlock import Unlock
from matrixdata.protocol import requests
from matrixdata.protocol.requests import Request, path
from matrixdata.protocol.sync import decode
from matrixdata.transport.caller import Caller
from matrixdata.transport.http import HttpTransport
from tests.encryption.account import TABLES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from matrixdata.encryption.port import Received
    from tests.servers import TestServer

_numbers = count()


def new_id() -> str:
    return f"rig{next(_numbers)}x{time.monotonic_ns()}"


class Transactions:
    """The engine on a database in memory."""

    def __init__(self, user_id: str, device_id: str) -> None:
        self.c = sqlite3.connect(":memory:", check_same_thread=False)
        self.c.executescript(TABLES.read_text())
        me = Me(user_id, device_id, bytes(range(32)), lambda: time.time_ns() // 1000, new_id)
        self.engine = Engine(me)
        self.told: list[Received] = []
        self.problem = ""
        self.engine.open(self.c)
        self.c.commit()

    async def write(self, verb: Any) -> Any:
        try:
            result = verb(self.engine, self.c)
        except BaseException:
            self.c.rollback()
            raise
        self.c.commit()
        return result

    async def read(self, verb: Any) -> Any:
        return await self.write(verb)

    async def transact(self, work: Any) -> Any:
        return await self.write(lambda engine, c: work(engine.transaction(c)))

    async def look(self, work: Any) -> Any:
        return await self.transact(work)

    async def tell(self, received: Received) -> None:
        self.told.append(received)


class Messenger:
    """Takes requests to the server, one after the other."""

    def __init__(self, keys: Transactions, caller: Caller) -> None:
        self._keys = keys
        self._caller = caller

    async def deliver(self) -> None:
        sent: set[str] = set()
        while fresh := [it for it in await self._keys.write(lambda e, c: e.outgoing(c)) if it.id not in sent]:
            for it in fresh:
                sent.add(it.id)
                try:
                    answer = decode(await self._caller.call(_request(it)))
                except Rejected as error:
                    reason = str(error)
                    await self._keys.write(lambda e, c: e.refused(c, it.id, reason))  # noqa: B023  awaited here
                else:
                    await self._keys.write(lambda e, c: e.answered(c, it.id, answer))  # noqa: B023  awaited here


def _request(it: Any) -> Request:
    if it.kind == "to_device":
        return Request("PUT", path("sendToDevice", it.event_type, it.id), it.body)
    where = {
        "upload": ("upload",),
        "query": ("query",),
        "claim": ("claim",),
        "signatures": ("signatures", "upload"),
    }[it.kind]
    return Request("POST", path("keys", *where), it.body)


class RigDevice:
    """One device: `keys` is its client.keys."""

    def __init__(self, http: HttpTransport, session: Session, unlock: Unlock) -> None:
        self.http = http
        self.session = session
        self.transactions = Transactions(session.user_id, session.device_id)
        caller = Caller(http)
        self.desk = Desk(
            self.transactions,
            Messenger(self.transactions, caller),
            caller,
            who=lambda: session,
            clock=lambda: time.time_ns() // 1000,
            new_id=new_id,
        )
        self.gossip = Gossip(self.desk)
        self.verifications = Verifications(self.desk, self.gossip)
        self.upkeep = Upkeep(self.desk, self.verifications, self.gossip, unlock, chance=lambda: 0.5)
        self.keys = AsyncKeys(
            self.desk, self.verifications, self.upkeep, listen=lambda: None, check=lambda: None
        )
        self.since: str | None = None

    @property
    def user_id(self) -> str:
        return self.session.user_id

    @property
    def device_id(self) -> str:
        return self.session.device_id

    def tx(self) -> Transaction:
        return Transaction(self.transactions.c, self.transactions.engine.me)

    async def sync(self, timeout: int = 0) -> None:
        where = path("sync", query={"timeout": timeout, "since": self.since})
        answer: Any = decode(await self.desk.caller.call(Request("GET", where)))
        self.since = answer["next_batch"]
        events = answer.get("to_device", {}).get("events", [])
        changes = SyncChanges(
            tuple(ToDevice(it["type"], it["sender"], it["content"]) for it in events),
            changed=tuple(answer.get("device_lists", {}).get("changed", ())),
            one_time_keys=answer.get("device_one_time_keys_count"),
            token=self.since,
        )
        await self.transactions.write(lambda e, c: e.receive(c, changes))
        await self.desk.courier.deliver()

    async def run(self) -> None:
        """Sync for as long as it is not cancelled."""
        while True:
            await self.sync(timeout=1000)
            await self.upkeep.round()


@asynccontextmanager
async def device(server: TestServer, name: str, unlock: Unlock | None = None) -> AsyncIterator[RigDevice]:
    """A new device of a user."""
    http = HttpTransport(server.url)
    password = homeserver.register(server.address, name)
    answer: Any = decode(
        await Caller(http).call(requests.login(server.user_id(name), password, device_name="rig"))
    )
    http.use_token(answer["access_token"])
    session = Session(server.url, answer["user_id"], answer["device_id"], answer["access_token"])
    made = RigDevice(http, session, unlock or Unlock())
    try:
        yield made
    finally:
        with anyio.CancelScope(shield=True):
            await http.aclose()
