"""F17, P9: servers that were apart meet again; each replica ends up as its server has the room, and both agree."""

from __future__ import annotations

from tests.faults.harness import Break, fault
from tests.servers import RECORD, encoded, wait_until

BACKFILL = "matrixdata/receiving/backfill.py"


def content(who, number):
    # The time in it is of no use for order, and neither is the server's.
    return {"v": 1, "uid": f"{who}{number}", "value": {"who": who, "n": number}}


def canonical(collection):
    """What two replicas of a room agree on: every event by its id, and which record counts for each (sender, uid).

    The order of the timeline is not in it: servers that were apart order what happened meanwhile differently.
    """
    events = sorted(
        (
            event.event_id,
            event.type,
            event.state_key,
            event.sender,
            event.time,
            str(event.content),
            event.row_state,
        )
        for event in collection.history()
    )
    records = sorted(
        (record.sender, record.uid, record.event_id, str(record.value)) for record in collection.query()
    )
    return events, records


class Side:
    """One server with somebody who writes over plain HTTP and somebody who reads with the library."""

    def __init__(self, server, who):
        self.server, self.who = server, who
        self.raw = server.raw(server.name(who))
        self.reader = server.connect(server.name(f"{who}reader"))

    def write(self, room_id, numbers):
        for number in numbers:
            self.raw.send(room_id, content(self.who, number))

    def timeline(self, room_id):
        return [event["event_id"] for event in self.raw.timeline(room_id)]

    def uids(self, room_id):
        return {event["content"]["uid"] for event in self.raw.timeline(room_id) if event["type"] == RECORD}


def taken(subscription, wanted):
    """The uids that a subscription delivers until it has delivered all that are wanted."""
    met = []
    while set(met) < wanted:
        met.append(subscription.get(timeout=30).uid)
    return met


@fault(
    "F17",
    "P9",
    broken=Break(BACKFILL, "            await self._compare(room_id, patience)\n", ""),
)
def test_servers_that_were_apart_end_with_replicas_that_agree(federation):
    many = 40  # of which servers tell each other the newest, and the rest only to those who page back
    a, b = Side(federation.here, "a"), Side(federation.there, "b")
    room_id = a.raw.create_room(preset="public_chat")
    b.raw.call("POST", encoded("join", room_id), {}, server_name=a.server.address.name)
    a.write(room_id, range(3))
    wait_until(lambda: len(b.uids(room_id)) == 3)
    here, there = a.reader.collection(room_id), b.reader.collection(room_id)
    for collection in (here, there):
        collection.sync()
        assert collection.query().count() == 3
    with here.subscribe() as new_here, there.subscribe() as new_there:
        with federation.without(b.server):
            a.write(room_id, range(10, 10 + many))
            met = taken(new_here, {f"a{n}" for n in range(10, 10 + many)})
        with federation.without(a.server):
            b.write(room_id, range(10, 10 + many))
            met_there = taken(new_there, {f"b{n}" for n in range(10, 10 + many)})
        for side in (a, b):  # each server has something to tell, and so finds out what it missed
            side.write(room_id, [900])
        everything = {f"{who}{n}" for who in "ab" for n in (*range(10, 10 + many), 900)}
        wait_until(lambda: all(side.uids(room_id) >= everything for side in (a, b)), 60)
        met += taken(new_here, everything - set(met))
        met_there += taken(new_there, everything - set(met_there))
        assert sorted(met) == sorted(met_there) == sorted(everything)
    for side, collection in ((a, here), (b, there)):
        collection.sync()
        assert [event.event_id for event in collection.history()] == side.timeline(room_id)
        assert collection.query().completeness.complete
    assert canonical(here) == canonical(there)
