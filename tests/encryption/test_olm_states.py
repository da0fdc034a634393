"""Devices that write to each other while everything goes wrong, in any order that Hypothesis can think of.

Requests and answers are lost, messages repeated, reordered and dropped, transactions rolled back, stores put back from
an older copy. Whatever happened: nothing is taken twice, what was handed over and not dropped is taken or its session
is replaced, and in the end everybody reads everybody again.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from matrixdata.encryption import device_lists, olm, outgoing, to_device
from matrixdata.encryption.engine import Engine
from tests.encryption.exchange import HOUR, Clock, Exchange, Peer, Refused

if TYPE_CHECKING:
    from matrixdata.encryption.port import Outgoing

SECRET = "m.secret.send"
NAMES = (("@alice:one.example", "PHONE"), ("@bob:one.example", "DESK"), ("@alice:one.example", "TABLET"))
devices = st.integers(0, len(NAMES) - 1)
LAST = (
    (0, 1),
    (2, 1),
    (0, 2),
)  # who writes to whom in the end: one way only, or answers alone would heal a session


class Correspondence(RuleBasedStateMachine):
    """A few devices, and the messages that they wrote to each other."""

    @initialize()
    def begin(self) -> None:
        self.exchange, self.clock = Exchange(), Clock()
        self.peers = [Peer(self.exchange, *name, self.clock) for name in NAMES]
        for peer in self.peers:
            peer.flush()
        for peer in self.peers:
            peer.know(*(user for user, _ in NAMES))
            peer.settle()
        self.numbers = 0
        self.sent: dict[int, int] = {}  # message → to which device
        self.dropped: set[int] = set()
        self.put_back = False
        self.copy: sqlite3.Connection | None = None
        for one, other in LAST * 2:  # the first time only keys are claimed
            self.send(self.peers[one], other)
            self.settle()

    # -- writing ----------------------------------------------------------------------------------------
    @rule(one=devices, other=devices)
    def write(self, one: int, other: int) -> None:
        if one != other:
            self.send(self.peers[one], other)

    def send(self, peer: Peer, to: int) -> int | None:
        """Encrypt and queue a message; None while there is no session."""
        self.numbers += 1
        with peer.transaction() as tx:
            device = device_lists.device(tx, *NAMES[to])
            assert device is not None
            encrypted = olm.encrypt(tx, device, SECRET, {"n": self.numbers})
            if encrypted is None:
                olm.claim(tx, [device])
                return None
            message = (*NAMES[to], encrypted)
            outgoing.queue_messages(tx, "m.room.encrypted", [message], purpose={"n": self.numbers})
        self.sent[self.numbers] = to
        return self.numbers

    @rule(one=devices, fate=st.sampled_from(["fine", "fine", "fine", "request lost", "answer lost"]))
    def carry(self, one: int, fate: str) -> None:
        """One round of what is to be sent."""
        peer = self.peers[one]
        for request in peer.do(peer.engine.outgoing):
            if fate == "fine":
                peer.deliver(request)
            elif fate == "answer lost":
                self.carry_out(peer, request)

    def carry_out(self, peer: Peer, request: Outgoing) -> None:
        with suppress(Refused):
            self.exchange.answer(peer.me, request)

    # -- reading ----------------------------------------------------------------------------------------
    @rule(
        one=devices,
        limit=st.integers(1, 20),
        fate=st.sampled_from(["fine", "fine", "repeated", "rolled back"]),
    )
    def read(self, one: int, limit: int, fate: str) -> None:
        peer = self.peers[one]
        changes = self.exchange.sync(*NAMES[one], peer.do(peer.engine.token), limit=limit)
        if fate == "rolled back":
            with suppress(ZeroDivisionError), peer.transaction() as tx:
                peer.engine.receive(tx.connection, changes)
                _ = 1 / 0
            return
        for _ in range(2 if fate == "repeated" else 1):
            peer.do(peer.engine.receive, changes)

    @rule(one=devices)
    def restart(self, one: int) -> None:
        self.peers[one].engine = Engine(self.peers[one].me)

    # -- a server that is no good -----------------------------------------------------------------------
    @rule(one=devices, data=st.data())
    def reorder(self, one: int, data: st.DataObject) -> None:
        inbox = self.exchange.inboxes[NAMES[one]]
        events = data.draw(st.permutations([event for _, event in inbox]))
        inbox[:] = [(number, event) for (number, _), event in zip(inbox, events, strict=True)]

    @rule(one=devices)
    def repeat(self, one: int) -> None:
        inbox = self.exchange.inboxes[NAMES[one]]
        inbox += [(next(self.exchange.numbers), event) for _, event in inbox[:5]]

    @rule(one=devices)
    def drop(self, one: int) -> None:
        """What is waiting never arrives."""
        self.dropped |= {n for n, to in self.sent.items() if to == one and n not in self.arrived(one)}
        self.exchange.inboxes[NAMES[one]].clear()

    @rule(one=devices)
    def claim_all(self, one: int) -> None:
        for _ in range(20):
            self.exchange.take_key(*NAMES[one])

    @rule(hours=st.integers(1, 3))
    def wait(self, hours: int) -> None:
        self.clock.advance(hours * HOUR)

    # -- a store that is put back -------------------------------------------------------------------------
    @rule()
    def keep_a_copy(self) -> None:
        self.copy = sqlite3.connect(":memory:")
        self.peers[1].connection.backup(self.copy)

    @rule()
    def put_the_copy_back(self) -> None:
        if self.copy is not None:
            self.copy.backup(self.peers[1].connection)
            self.put_back = True

    @rule(one=devices)
    def lose_sessions(self, one: int) -> None:
        self.peers[one].connection.execute("DELETE FROM olm_session")

    # -- what holds ---------------------------------------------------------------------------------------
    def arrived(self, one: int) -> list[int]:
        found: list[Any] = [event.content["n"] for _, event in self.peers[one].do(to_device.inbox)]
        return found

    @invariant()
    def nothing_is_taken_twice_or_by_another(self) -> None:
        for one in range(len(getattr(self, "peers", ()))):
            arrived = self.arrived(one)
            assert len(arrived) == len(set(arrived))
            assert all(self.sent[n] == one for n in arrived)

    def settle(self) -> None:
        for _ in range(3):
            for peer in self.peers:
                peer.settle()

    def teardown(self) -> None:
        if not getattr(self, "peers", ()):
            return
        self.settle()
        for one, peer in enumerate(self.peers):
            missing = {n for n, to in self.sent.items() if to == one} - {*self.arrived(one)} - self.dropped
            replaced = peer.connection.execute("SELECT count(*) FROM unwedging").fetchone()[0]
            assert not missing or replaced or self.put_back, f"never arrived: {missing}"
        for _ in range(4):  # at most one new session an hour
            for one, other in LAST:
                self.send(self.peers[one], other)
            self.settle()
            self.clock.advance(HOUR + 1)
        last = [self.send(self.peers[one], other) for one, other in LAST]
        self.settle()
        assert None not in last
        self.nothing_is_taken_twice_or_by_another()
        read = {n for one in range(len(NAMES)) for n in self.arrived(one)}
        assert not {*last} - read, "sessions that stay broken"


TestCorrespondence = Correspondence.TestCase
_examples = settings().max_examples
TestCorrespondence.settings = settings(stateful_step_count=20, max_examples=max(25, _examples // 4))
