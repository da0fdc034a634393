"""Faults while somebody listens: each record comes once per cursor, and the end has a reason."""

from __future__ import annotations

import json
import random

import pytest

import matrixdata as md
from tests.faults.harness import Break, child, fault
from tests.servers import wait_until


def reading(number):
    return {"device": "d", "temp": number}


# -- F16: duplicated, replayed and shuffled ------------------------------------------------------------


class Noise:
    """Repeats and shuffles the events of sync responses, and every other time repeats those of earlier ones."""

    def __init__(self, seed, room_id):
        self.chance = random.Random(seed)
        self.room_id = room_id
        self.seen = []

    def __call__(self, seen):
        return self.disturbed if "sync" in seen.path else None

    def disturbed(self, content):
        body = json.loads(content)
        room = body.get("rooms", {}).get(self.room_id)
        if room and room.get("timeline"):
            new = [event for event in room["timeline"] if event not in self.seen]
            self.seen += new
            room["timeline"] = self.chance.sample(self.seen, len(self.seen)) + room["timeline"]
        return json.dumps(body).encode()


# A second event with one (sender, uid), as a sender makes who was cut off, counts as the same record.
REPEATED = Break("matrixdata/receiving/reader.py", "if entry.repeat:", "if False:")
FORGOTTEN = Break(
    "matrixdata/receiving/arrivals.py",
    "saved = await account.cursor(self.wanted.room_id, self.wanted.cursor)",
    "saved = None",
)


@fault("F16", broken=(REPEATED, FORGOTTEN))
@pytest.mark.parametrize("seed", [1, 2])
def test_repeated_and_shuffled_events_are_handed_out_once_per_cursor(pair, seed):
    proxy = pair.server.proxy()
    name = pair.server.name("late")
    pair.mine.invite(pair.server.user_id(name))
    late = pair.server.connect(name, url=proxy.url).collection(pair.room_id)
    raw, got = pair.raw(pair.writer), []
    proxy.fault = Noise(seed, pair.room_id)
    for part in range(2):
        with late.subscribe(start="all", cursor="job") as sub:
            numbers = range(part * 6, part * 6 + 6)
            for number in numbers:
                pair.mine.publish(reading(number))
            first = next(event for event in raw.records(pair.room_id)[::-1])
            raw.send(pair.room_id, first["content"])  # the same record once more, in another event
            pair.mine.publish(reading(100 + part))
            while not got or got[-1].value["temp"] != 100 + part:
                got.append(sub.get(timeout=20))
    assert len({record.event_id for record in got}) == len(got)
    assert [record.value["temp"] for record in got] == [*range(6), 100, *range(6, 12), 101]


# -- F20: out of the room ------------------------------------------------------------------------------


@fault(
    "F20",
    broken=Break("matrixdata/receiving/ending.py", "await sources.standing.check(room_id)", "pass"),
)
@pytest.mark.parametrize("how", ["kick", "ban"])
def test_who_is_put_out_is_told_by_whom_and_why_after_the_last_record(pair, how):
    with pair.theirs.subscribe() as sub:
        pair.mine.publish(reading(1))
        put_out = {"user_id": pair.reader.user_id, "reason": "tidying"}
        pair.raw(pair.writer).call("POST", f"rooms/{pair.room_id}/{how}", put_out)
        assert sub.get(timeout=10).value == reading(1)
        for _ in range(2):
            with pytest.raises(md.RoomLeft, match="tidying") as caught:
                sub.get(timeout=10)
    assert (caught.value.room_id, caught.value.reason) == (pair.room_id, "tidying")
    assert caught.value.by == pair.writer.user_id
    assert pair.theirs.query(on_incomplete="ignore").values() == [reading(1)]


# -- F26: the owner of a cursor dies -------------------------------------------------------------------

CONSUMER = """
import matrixdata as md
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
with client.collection(sys.argv[4]).subscribe(start="all", cursor="job") as sub:
    for record in sub:
        print(record.value["temp"], flush=True)  # handled
        if record.value["temp"] == 5:
            sys.stdin.read()
"""


@fault(
    "F26",
    broken=Break(
        "matrixdata/replica/cursor_leases.py",
        "if not lease.acquire():",
        "if lease.path.exists() or not lease.acquire():",
    ),
)
def test_a_killed_consumer_frees_its_cursor_and_what_it_had_in_hand_comes_again(pair):
    pair.mine.publish_many([reading(n) for n in range(9)])
    name = pair.server.name("consumer")
    pair.mine.invite(pair.server.user_id(name))
    account = pair.server.account(name)
    pair.server.connect(name).close()
    process = child(CONSUMER, pair.server.url, account["user"], str(account["store"]), pair.room_id)
    try:
        handled = [float(process.stdout.readline()) for _ in range(6)]
    finally:
        process.kill()
        process.communicate()
    assert handled == list(range(6))
    again = wait_until(lambda: pair.server.connect(name)).collection(pair.room_id)
    with again.subscribe(start="all", cursor="job") as sub:
        rest = [sub.get(timeout=20).value["temp"]]
        assert rest[0] <= 5, "what was in hand must come again"
        while rest[-1] != 8:
            rest.append(sub.get(timeout=20).value["temp"])
    assert rest == list(range(int(rest[0]), 9))
