"""Any interleaving of writing, membership, devices, rotation, crashes and lost answers, in one encrypted room.

Held: no state of a ratchet ever encrypts two messages; whoever was to read a message does; nobody else can.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from matrixdata.encryption import device_lists, outbound
from matrixdata.encryption.transaction import Transaction
from tests.encryption.exchange import HOUR, Exchange, Peer
from tests.encryption.rooms import ROOM, TYPE, Room
from tests.faults.harness import Break, fault

ALICE, BOB, CAROL = "@alice:one.example", "@bob:one.example", "@carol:two.example"
DEVICES = [(ALICE, "A1"), (ALICE, "A2"), (BOB, "B1"), (CAROL, "C1")]
LATER = (BOB, "B2")
Id = tuple[str, str]

CHANGES = (
    *("nothing", "nothing", "die", "die prepared", "lose answers", "leave", "enter"),
    *("device comes", "block", "rotate", "time passes", "catch up"),
)
who = st.sampled_from(range(len(DEVICES)))


class World:
    """The model: who is a member, which devices there are, whom each device blocked; and per event, its readers."""

    def __init__(self, messages: int) -> None:
        self.exchange = Exchange()
        self.room = Room(settings={"rotation_period_msgs": messages})
        self.peers: dict[Id, Peer] = {}
        self.blocked: set[tuple[Id, Id]] = set()
        self.readers: list[set[Id]] = []
        self.used: dict[tuple[str, int], bytes] = {}
        for device in DEVICES:
            self.add(device)
        for peer in self.peers.values():
            peer.know(ALICE, BOB, CAROL)

    def add(self, device: Id) -> None:
        members = list(self.room.members)
        peer = self.peers[device] = Peer(self.exchange, *device)
        peer.flush()
        self.room.join(peer, policy="all")
        peer.know(ALICE, BOB, CAROL)
        if device == LATER:
            self.room.members = members

    def change(self, change: str, one: Id, other: Id) -> None:
        peer, members = self.peers[one], self.room.members
        match change:
            case "die":
                self.die(peer)
            case "die prepared":
                self.room.prepare(peer)
                self.die(peer)
            case (
                "lose answers"
            ):  # requests reach the server, their answers do not reach us: they are sent again
                for request in peer.do(self.room._prepare).requests:
                    self.exchange.answer(peer.me, request)
            case "leave" if other[0] in members:
                members.remove(other[0])
            case "enter" if other[0] not in members:
                members.append(other[0])
            case "device comes" if LATER not in self.peers:
                self.add(LATER)
            case "block" if one != other:
                self.blocked ^= {(one, other)}
                peer.do(device_lists.block, *other, (one, other) in self.blocked)
            case "rotate":
                peer.do(outbound.rotate, ROOM)
            case "time passes":
                peer.clock.advance(200 * HOUR)
            case "catch up":
                peer.settle()

    def die(self, peer: Peer) -> None:
        """What was not committed never left: what this attempt made is nowhere."""
        peer.connection.execute("BEGIN IMMEDIATE")
        tx = Transaction(peer.connection, peer.me)
        if not self.room._prepare(tx).requests:
            outbound.encrypt(tx, ROOM, TYPE, b"{}")
        peer.connection.execute("ROLLBACK")

    def write(self, device: Id) -> None:
        if device[0] not in self.room.members:
            return
        peer = self.peers[device]
        peer.settle()
        encrypted = self.room.encrypt(peer, {"n": len(self.room.timeline)})
        key = (encrypted.session_id, encrypted.index)
        assert key not in self.used
        self.used[key] = encrypted.content
        self.room.post(device[0], encrypted.content)
        self.readers.append({it for it in self.peers if it == device or self.may_read(device, it)})

    def may_read(self, writer: Id, reader: Id) -> bool:
        return reader[0] in self.room.members and (writer, reader) not in self.blocked

    def check(self) -> None:
        for device, peer in self.peers.items():
            peer.settle()
            for number, seen in enumerate(self.room.seen(peer) if self.room.timeline else []):
                if device in self.readers[number]:
                    assert seen == {"n": number}
                else:
                    assert seen in ("no_key", "too_early", "withheld")


@fault(
    "F28",
    broken=(
        Break(
            "matrixdata/encryption/outbound.py",
            "(ratchet.pickle(tx.me.pickle_key), ratchet.message_index, room_id)",
            "(session.pickle, session.messages, room_id)",
        ),
        Break(
            "matrixdata/encryption/sharing.py",
            "return any((*who, key) not in",
            "return False and (given not in",
        ),
    ),
)
@settings(max_examples=20)
@given(messages=st.integers(2, 5), steps=st.lists(st.tuples(st.sampled_from(CHANGES), who, who), max_size=14))
def test_who_is_to_read_does_and_nobody_else_and_no_ratchet_is_used_twice(
    messages: int, steps: list[tuple[str, int, int]]
) -> None:
    world = World(messages)
    for change, one, other in steps:
        world.change(change, DEVICES[one], DEVICES[other])
        world.write(DEVICES[one])
    world.check()
