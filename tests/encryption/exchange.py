"""A key server in this process, and devices around it: what /keys and /sendToDevice of a homeserver do, and no more.

The real server proves the rest in tests/e2ee. `Exchange` does what Synapse does with keys: it refuses another key
under a used id, gives each one-time key once, then the fallback key; it hands out to-device messages until they are
confirmed. Tests reach into its tables (`devices`, `identities`, `inboxes`) to lie.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matrixdata import replica
from matrixdata.encryption import cross_signing, device_lists, identities, olm, outgoing
from matrixdata.encryption.engine import Engine
from matrixdata.encryption.port import Received, SyncChanges, ToDevice
from matrixdata.encryption.transaction import Me, Transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matrixdata.encryption.port import Device, Outgoing

SCHEMA = (Path(replica.__file__).parent / "migrations" / "account_0001.sql").read_text()
SECOND = 1_000_000
HOUR = 3_600 * SECOND
ALGORITHM = "signed_curve25519"
_ids = count(1)  # of requests, never the same twice in this process


class Refused(Exception):
    """The server's 400."""


@dataclass
class Clock:
    """Microseconds since 1970; a test moves it. It ticks, so that no two readings are the same."""

    now: int = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def advance(self, by: int) -> None:
        self.now += by


@dataclass
class Uploaded:
    """What one device has on the server."""

    device_keys: dict[str, Any] | None = None
    one_time_keys: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    fallback: dict[str, Any] = field(default_factory=dict)
    fallback_used: bool = False


class Exchange:
    """The server. `down` holds names of servers that cannot be reached for questions about their users."""

    def __init__(self) -> None:
        self.devices: dict[tuple[str, str], Uploaded] = defaultdict(Uploaded)
        self.identities: dict[str, dict[str, Any]] = {}  # user → usage → signed object
        self.inboxes: dict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        self.seen: set[tuple[str, str, str]] = set()  # transaction ids
        self.changes: list[str] = []  # users whose devices changed, in order
        self.down: set[str] = set()
        self.numbers = count(1)

    # -- requests ---------------------------------------------------------------------------------------
    def answer(self, me: Me, request: Outgoing) -> dict[str, Any]:
        """Carry out a request of that device, or raise Refused."""
        body = json.loads(request.body)
        match request.kind:
            case "upload":
                return self.upload(me, body)
            case "query":
                return self.query(me, body)
            case "claim":
                return self.claim(body)
            case "to_device":
                return self.send(me, request.event_type, request.id, body)
            case "signatures":
                return self.sign(body)

    def upload(self, me: Me, body: dict[str, Any]) -> dict[str, Any]:
        mine = self.devices[me.user_id, me.device_id]
        for key_id, key in body.get("one_time_keys", {}).items():
            if mine.one_time_keys.get(key_id, mine.given.get(key_id, key)) != key:
                raise Refused(f"M_UNKNOWN: one time key {key_id} already exists")
        if "device_keys" in body and body["device_keys"] != mine.device_keys:
            mine.device_keys = body["device_keys"]
            self.changes.append(me.user_id)
        for key_id, key in body.get("one_time_keys", {}).items():
            if key_id not in mine.given:
                mine.one_time_keys[key_id] = key
        if "fallback_keys" in body:
            mine.fallback, mine.fallback_used = body["fallback_keys"], False
        return {"one_time_key_counts": {ALGORITHM: len(mine.one_time_keys)}}

    def query(self, me: Me, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {"device_keys": {}, "failures": {}}
        for user in body["device_keys"]:
            server = user.partition(":")[2]
            if server in self.down:
                answer["failures"][server] = {"status": 503}
                continue
            answer["device_keys"][user] = {
                device: it.device_keys
                for (owner, device), it in self.devices.items()
                if owner == user and it.device_keys is not None
            }
            for usage, key in self.identities.get(user, {}).items():
                if usage != "user_signing" or user == me.user_id:
                    answer.setdefault(f"{usage}_keys", {})[user] = key
        return json.loads(json.dumps(answer))

    def claim(self, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {"one_time_keys": {}, "failures": {}}
        for user, devices in body["one_time_keys"].items():
            server = user.partition(":")[2]
            if server in self.down:
                answer["failures"][server] = {"status": 503}
                continue
            for device in devices:
                key = self.take_key(user, device)
                if key:
                    answer["one_time_keys"].setdefault(user, {})[device] = key
        return answer

    def take_key(self, user: str, device: str) -> dict[str, Any]:
        """Give away a one-time key, or the fallback key; empty when there is neither."""
        it = self.devices[user, device]
        if it.one_time_keys:
            key_id = next(iter(it.one_time_keys))
            it.given[key_id] = it.one_time_keys.pop(key_id)
            return {key_id: it.given[key_id]}
        it.fallback_used = bool(it.fallback)
        return it.fallback

    def send(self, me: Me, event_type: str, txn_id: str, body: dict[str, Any]) -> dict[str, Any]:
        if (me.user_id, me.device_id, txn_id) in self.seen:
            return {}
        self.seen.add((me.user_id, me.device_id, txn_id))
        for user, devices in body["messages"].items():
            for device, content in devices.items():
                event = {"type": event_type, "sender": me.user_id, "content": content}
                every = [key for owner, key in self.devices if owner == user]
                for one in every if device == "*" else [device]:
                    self.inboxes[user, one].append((next(self.numbers), event))
        return {}

    def sign(self, body: dict[str, Any]) -> dict[str, Any]:
        for user, objects in body.items():
            for name, signed in objects.items():
                targets = [self.devices[user, name].device_keys] if (user, name) in self.devices else []
                for usage in self.identities.get(user, {}).values():
                    targets += [usage] if name in usage["keys"].values() else []
                for target in targets:
                    for signer, signatures in signed.get("signatures", {}).items():
                        target.setdefault("signatures", {}).setdefault(signer, {}).update(signatures)
            self.changes.append(user)
        return {"failures": {}}

    # -- sync -------------------------------------------------------------------------------------------
    def sync(self, user_id: str, device_id: str, since: str | None, *, limit: int = 100) -> SyncChanges:
        """What is new since that token. What came before it is confirmed, and forgotten."""
        confirmed, changes = map(int, (since or "0.0").split("."))
        inbox = self.inboxes[user_id, device_id]
        inbox[:] = [it for it in inbox if it[0] > confirmed]
        page = inbox[:limit]
        last = page[-1][0] if page else confirmed
        mine = self.devices[user_id, device_id]
        return SyncChanges(
            to_device=tuple(ToDevice(it["type"], it["sender"], it["content"]) for _, it in page),
            changed=tuple(dict.fromkeys(self.changes[changes:])),
            one_time_keys={ALGORITHM: len(mine.one_time_keys)},
            fallback_unused=(ALGORITHM,) if mine.fallback and not mine.fallback_used else (),
            token=f"{last}.{len(self.changes)}",
        )


class Peer:
    """A device: an engine, its database (one that is at `path` goes on where it stopped), its way to the exchange."""

    def __init__(
        self,
        exchange: Exchange,
        user_id: str,
        device_id: str,
        clock: Clock | None = None,
        path: str = ":memory:",
    ) -> None:
        self.exchange = exchange
        self.clock = clock or Clock()
        self.me = Me(user_id, device_id, b"k" * 32, self.clock, lambda: f"request-{next(_ids)}")
        self.connection = sqlite3.connect(path, isolation_level=None)
        if not self.connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            self.connection.executescript(SCHEMA)
        self.engine = Engine(self.me)
        self.received: list[Received] = []
        with self.transaction() as tx:
            self.engine.open(tx.connection)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One transaction, rolled back if the test raises in it."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield Transaction(self.connection, self.me)
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def do(self, verb: Any, *arguments: Any, **options: Any) -> Any:
        """Run a verb in a transaction of its own: `do(engine.receive, …)`, or `do(olm.claim, …)` over a Transaction."""
        with self.transaction() as tx:
            first = tx.connection if getattr(verb, "__self__", None) is self.engine else tx
            return verb(first, *arguments, **options)

    # -- the way to the server --------------------------------------------------------------------------
    def deliver(self, request: Outgoing) -> Received:
        """Send one request and take its answer."""
        try:
            answer = self.exchange.answer(self.me, request)
        except Refused as error:
            result = self.do(self.engine.refused, request.id, str(error))
        else:
            result = self.do(self.engine.answered, request.id, answer)
        self.received.append(result)
        return result

    def flush(self) -> list[Outgoing]:
        """Send all there is to send, and what follows from the answers."""
        sent: list[Outgoing] = []
        while requests := self.do(self.engine.outgoing):
            for request in requests:
                self.deliver(request)
            sent += requests
            assert len(sent) < 10_000, "requests without end"
        return sent

    def sync(self, **options: Any) -> Received:
        """Take one page of news."""
        token = self.do(self.engine.token)
        changes = self.exchange.sync(self.me.user_id, self.me.device_id, token, **options)
        result = self.do(self.engine.receive, changes)
        self.received.append(result)
        return result

    def settle(self) -> None:
        """Send and take until nothing is new."""
        while True:
            before = self.do(self.engine.token)
            self.sync()
            self.flush()
            if self.do(self.engine.token) == before:
                return

    # -- what tests ask for -----------------------------------------------------------------------------
    def device(self) -> Device:
        """This device, as it sees itself."""
        with self.transaction() as tx:
            found = device_lists.device(tx, self.me.user_id, self.me.device_id)
        assert found is not None
        return found

    def sees(self, other: Peer) -> Device | None:
        """The other device, as this one knows it."""
        return self.do(device_lists.device, other.me.user_id, other.me.device_id)

    def know(self, *users: str) -> None:
        """Track these users and ask for their devices."""
        self.do(self.engine.track, users)
        self.flush()

    def cross_sign(self) -> None:
        """Make a cross-signing identity (another one, if there is one), publish it and sign this device."""
        body = self.do(cross_signing.create) or self.do(cross_signing.upload)
        self.exchange.identities[self.me.user_id] = {
            usage: json.loads(json.dumps(body[f"{usage}_key"])) for usage in cross_signing.USAGE.values()
        }
        self.sign_device(self)
        self.do(self.engine.mark_stale)
        self.flush()
        own = self.exchange.identities[self.me.user_id]
        [master] = own["master"]["keys"].values()
        self.do(identities.set_verified, self.me.user_id, master)

    def sign_device(self, other: Peer) -> None:
        """Say on the server that the other device is of this user too."""
        self.exchange.sign(self.do(cross_signing.sign_device, other.device().keys))

    def send(self, other: Peer, event_type: str, content: dict[str, Any]) -> bool:
        """Encrypt one event for another device, claiming if need be, and send it. Whether that was possible."""
        device = self.sees(other)
        assert device is not None
        request = self.do(olm.claim, [device])
        if request:
            self.deliver(request)
        with self.transaction() as tx:
            encrypted = olm.encrypt(tx, device, event_type, content)
            if encrypted is None:
                return False
            outgoing.queue_messages(tx, "m.room.encrypted", [(device.user_id, device.device_id, encrypted)])
        self.flush()
        return True
