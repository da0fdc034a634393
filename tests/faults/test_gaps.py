"""Faults on the way in: what the server has is in the replica once and in its order, or is named as missing."""

from __future__ import annotations

import itertools
import json
import random
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest

import matrixdata as md
from matrixdata.receiving import paging, sources
from tests.faults.harness import Break, fault, run, was_killed
from tests.servers import Answer, wait_until

BACKFILL = "matrixdata/receiving/backfill.py"
PAGING = "matrixdata/receiving/paging.py"
TIMELINE = "matrixdata/replica/timeline.py"


def content(number):
    return {"v": 1, "uid": f"u{number}", "value": {"n": number}}


def send_many(raw, room_id, numbers):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda number: raw.send(room_id, content(number)), numbers))


def history(collection):
    return [event.event_id for event in collection.history()]


def on_server(raw, room_id):
    return [event["event_id"] for event in raw.timeline(room_id)]


def paged(seen):
    return "/messages" in seen.path and "from" in parse_qs(urlsplit(seen.path).query)


class Room:
    """A room, its owner over plain HTTP, and a reader who comes through a network of his own."""

    def __init__(self, server):
        self.server, self.network, self.name = server, server.proxy(), server.name("reader")
        self.raw = server.raw(server.name("owner"))
        self.id = self.raw.create_room()
        self.raw.invite(self.id, server.user_id(self.name))

    def read(self):
        self.client = self.server.connect(self.name, url=self.network.url)
        return self.client.collection(self.id)

    def same(self, collection):
        """By the independent checker: everything, once, in the server's order; and none of it called missing."""
        query = collection.query()
        return history(collection) == on_server(self.raw, self.id) and query.completeness.complete


@pytest.fixture
def room(server):
    return Room(server)


READ = """
import matrixdata as md
from matrixdata.receiving import backfill, sources
sources.TIMELINE_LIMIT, backfill._PAGE = 10, 100
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
collection = client.collection(sys.argv[4])
with collection.subscribe():
    print(client.status().gaps, flush=True)
collection.sync()
print(collection.query(timeout=0).count(), client.status().gaps, flush=True)
"""


@fault(
    "F13",
    broken=(
        Break(
            TIMELINE,
            "opened = missing and not have and (limited or prev_batch is not None)",
            "opened = False",
        ),
        Break(BACKFILL, "page.found, token=page.after)", "page.found, token=None)"),
    ),
)
def test_a_limited_timeline_is_filled_even_when_each_attempt_is_killed(server, room):
    send_many(room.raw, room.id, range(20))
    assert room.read().query().count() == 20
    room.client.close()
    send_many(room.raw, room.id, range(20, 520))
    account = server.account(room.name)
    arguments = (room.network.url, account["user"], str(account["store"]), room.id)
    for step, nth in (("backfill.1 received", 1), ("backfill.2 committed", 2), ("backfill.1 received", 2)):
        done = run(READ, *arguments, kill_at=step, nth=nth)
        assert was_killed(done), f"{step} was never reached: {done.stderr}"
        assert done.stdout.split()[:1] in ([], ["1"]), "the gap was not listed"
    collection = room.read()
    query = collection.query(timeout=0, on_incomplete="ignore")
    assert query.count() < 520
    assert query.completeness.gaps == 1
    collection.sync()
    assert room.same(collection)
    values = [record.value["n"] for record in collection.query()]
    assert sorted(values) == list(range(520))


@fault(
    "F14",
    broken=Break(PAGING, "None if _is_start(page) else", "None if _is_start(page) or not page.events else"),
)
def test_empty_pages_that_go_on_are_followed_to_the_events_behind_them(room, monkeypatch):
    monkeypatch.setattr(sources, "TIMELINE_LIMIT", 5)
    send_many(room.raw, room.id, range(20))
    turns, numbers = {}, itertools.count()

    def edit(seen):
        if not paged(seen):
            return None
        token = parse_qs(urlsplit(seen.path).query)["from"][0]
        if next(numbers) < 12:  # the same place under another name each time
            turns[f"empty{len(turns)}"] = turns.get(token, token)
            return Answer(200, json.dumps({"chunk": [], "end": f"empty{len(turns) - 1}"}).encode())
        return None

    forward = room.network.http.request

    def request(method, url, **options):
        for name, real in turns.items():
            url = url.replace(f"from={name}&", f"from={real}&")
        return forward(method, url, **options)

    room.network.http.request = request
    room.network.fault = edit
    collection = room.read()
    collection.sync()
    assert len(turns) == 12
    assert room.same(collection)


@fault("F15", broken=Break(PAGING, "if after is not None and after in self._seen:", "if False:"))
@pytest.mark.parametrize("circle", ["same token", "two tokens", "empty for ever"])
def test_pages_that_lead_in_a_circle_end_with_an_error_and_a_listed_gap(room, monkeypatch, circle):
    monkeypatch.setattr(sources, "TIMELINE_LIMIT", 5)
    monkeypatch.setattr(paging, "_EMPTY_PAGES", 30)
    send_many(room.raw, room.id, range(12))
    tokens = []

    def edit(seen):
        if not paged(seen):
            return None
        token = parse_qs(urlsplit(seen.path).query)["from"][0]
        tokens.append(token)
        if circle == "empty for ever":
            return Answer(200, json.dumps({"chunk": [], "end": f"on{len(tokens)}"}).encode())
        following = token if circle == "same token" else {"a": "b", "b": "a"}.get(token, "a")
        events = json.loads(room.raw.answer("GET", f"rooms/{room.id}/messages", dir="b", limit=3).content)
        return Answer(200, json.dumps({"chunk": events["chunk"], "end": following}).encode())

    room.network.fault = edit
    collection = room.read()
    with pytest.raises(md.PaginationLoop, match="loop"):
        collection.sync()
    assert len(tokens) < 100
    query = collection.query(timeout=0, on_incomplete="ignore")
    assert (query.completeness.gaps, query.completeness.complete) == (1, False)
    assert "in a loop" in query.completeness.gap_problem
    assert "in a loop" in str(query.completeness)
    assert "in a loop" in room.client.status().gap_problem
    room.client.close()
    room.network.fault = lambda _: None
    collection = room.read()
    collection.sync()
    assert room.same(collection)
    assert room.client.status().gap_problem is None


@fault(
    "F16",
    broken=Break(
        TIMELINE,
        "new = _without_repeats(row for row in rows if row.event_id not in had)",
        "new = [row for row in rows if row.event_id not in have or row.type == 'io.matrixdata.record']",
    ),
)
@pytest.mark.parametrize("seed", range(3))
def test_doubled_shuffled_and_replayed_responses_change_nothing(room, monkeypatch, seed):
    monkeypatch.setattr(sources, "TIMELINE_LIMIT", 5)
    chance, kept = random.Random(seed), []

    def spoil(body):
        answer = json.loads(body)
        for each in answer.get("rooms", {}).values():
            timeline = each.get("timeline", [])
            timeline += [event for event in timeline if chance.random() < 0.5]
            if chance.random() < 0.5:
                chance.shuffle(timeline)
        spoiled = json.dumps(answer).encode()
        if b"timeline" in spoiled:
            kept.append(spoiled)
        return chance.choice(kept) if kept and chance.random() < 0.3 else spoiled

    def page(body):
        answer = json.loads(body)
        answer["chunk"] += [event for event in answer["chunk"] if chance.random() < 0.3]
        return json.dumps(answer).encode()

    room.network.fault = lambda seen: spoil if seen.is_sync else page if paged(seen) else None
    collection = room.read()
    with collection.subscribe() as sub:
        sent = []
        for part in range(0, 36, 12):
            sent += send_many(room.raw, room.id, range(part, part + 12))
            here = collection.query(timeout=0, on_incomplete="ignore")
            wait_until(lambda most=part, query=here: query.count() > most)
        room.network.fault = lambda _: None
        collection.sync()
        last = room.raw.send(room.id, content(99))
        met = []
        while not met or met[-1] != last:
            met.append(sub.get(timeout=10).event_id)
    assert sorted(met) == sorted({*sent, last})
    collection.sync()
    assert room.same(collection)
