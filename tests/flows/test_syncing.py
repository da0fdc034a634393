"""The replica holds what the server has: every event once, in the server's order, whatever was missed."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

import matrixdata as md
from matrixdata.receiving import sources
from tests.servers import CUT, Answer, hidden_sliding, wait_until

pytestmark = pytest.mark.server
WITHOUT_SLIDING = re.compile(rb'"org\.matrix\.simplified_msc3575":\s*true')


def content(number, **more):
    return {"v": 1, "uid": f"raw{number}", "value": {"device": "d", "temp": number}, **more}


def send_many(raw, room_id, numbers):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda number: raw.send(room_id, content(number)), numbers))


def history(collection, **options):
    return [event.event_id for event in collection.history(**options)]


def on_server(raw, room_id):
    return [event["event_id"] for event in raw.timeline(room_id)]


def live(collection):
    """Wait until the collection is in step, its past perhaps not yet here."""
    with collection.subscribe():
        pass


def paged(seen):
    return "/messages" in seen.path and "from" in parse_qs(urlsplit(seen.path).query)


@pytest.fixture(params=["sliding", "v2"])
def network(request, server):
    """A network behind which the server has simplified sliding sync, or only /sync."""
    proxy = server.proxy()

    def hide(seen):
        if request.param == "v2" and seen.path.endswith("/versions"):
            return lambda body: WITHOUT_SLIDING.sub(b'"org.matrix.simplified_msc3575":false', body)
        return None

    proxy.base = proxy.fault = hide
    proxy.kind = request.param
    return proxy


class Away:
    """A room without a schema, its owner's raw user, and a reader behind the network who comes and goes."""

    def __init__(self, server, network):
        self.server, self.network, self.name = server, network, server.name("reader")
        self.raw = server.raw(server.name("owner"))
        self.room_id = self.raw.create_room()
        self.raw.invite(self.room_id, server.user_id(self.name))
        self.client = self.collection = None

    def come(self):
        self.client = self.server.connect(self.name, url=self.network.url)
        self.collection = self.client.collection(self.room_id)
        return self.collection

    def leave(self):
        self.client.close()


@pytest.fixture
def away(server, network):
    return Away(server, network)


def test_five_hundred_events_sent_while_away_are_all_there_once_and_in_order(away):
    missed = 500 if away.network.kind == "sliding" else 120
    send_many(away.raw, away.room_id, range(20))
    assert history(away.come()) == on_server(away.raw, away.room_id)
    away.leave()
    send_many(away.raw, away.room_id, range(20, 20 + missed))
    collection = away.come()
    query = collection.query()
    values = query.values()
    assert query.completeness.complete
    assert len(values) == 20 + missed
    assert history(collection) == on_server(away.raw, away.room_id)
    expected = {"sliding": "simplified_msc3575/sync", "v2": "/v3/sync"}[away.network.kind]
    in_step = [seen for seen in away.network.seen if seen.is_sync and b"matrixdata-invites" not in seen.body]
    assert in_step
    assert all(expected in seen.path for seen in in_step)


def test_a_gap_is_shown_survives_a_restart_and_is_filled_later(away, monkeypatch):
    monkeypatch.setattr(sources, "TIMELINE_LIMIT", 5)
    send_many(away.raw, away.room_id, range(20))
    away.network.fault = lambda seen: Answer(502) if paged(seen) else away.network.base(seen)
    collection = away.come()

    def incomplete(**options):
        query = collection.query(on_incomplete="ignore", **options)
        return query.count(), query.completeness.gaps, query.completeness.complete

    live(collection)
    assert incomplete(timeout=0) == (4, 1, False)  # five events, one of which is that we joined
    with pytest.warns(md.IncompleteWarning, match="1 gap"):
        assert collection.query(timeout=0).count() == 4
    with pytest.raises(md.Incomplete) as caught:
        collection.query(timeout=0, on_incomplete="raise").count()
    assert caught.value.completeness.gaps == 1
    assert away.client.status().gaps == 1
    away.leave()
    send_many(away.raw, away.room_id, range(20, 40))
    collection = away.come()
    live(collection)
    assert incomplete(timeout=0) == (9, 2, False)
    assert away.client.status().gaps == 2
    away.leave()
    collection = away.come()
    assert incomplete(timeout=0) == (9, 2, False)
    away.network.fault = away.network.base
    collection.sync()
    assert incomplete() == (40, 0, True)
    assert history(collection) == on_server(away.raw, away.room_id)


@pytest.mark.parametrize("network", ["sliding"], indirect=True)
@pytest.mark.parametrize("moment", [1, 2])
def test_a_backfill_killed_in_the_middle_goes_on_where_it_was(away, monkeypatch, moment):
    from matrixdata.receiving import backfill

    monkeypatch.setattr(sources, "TIMELINE_LIMIT", 5)
    monkeypatch.setattr(backfill, "_PAGE", 10)
    send_many(away.raw, away.room_id, range(40))
    pages = []

    def only_some(seen):
        if paged(seen):
            pages.append(seen)
            return None if len(pages) <= moment else CUT
        return away.network.base(seen)

    away.network.fault = only_some
    collection = away.come()
    live(collection)
    wait_until(lambda: len(pages) > moment)
    query = collection.query(timeout=0, on_incomplete="ignore")
    assert query.count() < 40
    assert query.completeness.gaps == 1
    away.leave()
    away.network.fault = away.network.base
    before = len(away.network.seen)
    collection = away.come()
    assert collection.query().count() == 40
    assert history(collection) == on_server(away.raw, away.room_id)
    again = {seen.path for seen in away.network.seen[before:] if paged(seen)}
    assert not again & {seen.path for seen in pages[:moment]}


def test_a_room_followed_later_on_the_same_client_is_complete(away):
    away.come().query().count()
    late = away.raw.create_room()
    away.raw.invite(late, away.client.user_id)
    send_many(away.raw, late, range(30))
    collection = away.client.collection(late)
    assert history(collection) == on_server(away.raw, late)
    with collection.subscribe() as new, away.collection.subscribe() as old:
        away.raw.send(late, content(100))
        away.raw.send(away.room_id, content(200))
        assert (new.get(timeout=10).uid, old.get(timeout=10).uid) == ("raw100", "raw200")


def test_a_room_not_followed_for_a_while_misses_nothing(away):
    other = away.raw.create_room()
    away.raw.invite(other, away.server.user_id(away.name))
    away.come().query().count()
    away.client.collection(other).query().count()
    away.leave()
    send_many(away.raw, away.room_id, range(10))
    away.come()
    away.client.collection(other).query().count()
    send_many(away.raw, away.room_id, range(10, 30))
    away.raw.send(other, content(1))
    assert away.client.collection(other).query().count() == 1
    assert history(away.collection) == on_server(away.raw, away.room_id)
    away.leave()
    assert history(away.come()) == on_server(away.raw, away.room_id)


def test_a_room_that_was_opened_but_never_followed_is_complete_when_it_is(away):
    other = away.raw.create_room()
    away.raw.invite(other, away.server.user_id(away.name))
    away.come()
    away.client.collection(other)
    send_many(away.raw, other, range(3))
    away.collection.query().count()
    away.leave()
    away.come()
    away.collection.query().count()
    query = away.client.collection(other).query()
    assert (query.count(), query.completeness.complete) == (3, True)


def test_a_refused_token_starts_sync_anew_without_loss_or_repetition(away, monkeypatch):
    monkeypatch.setattr(sources, "TIMELINE_LIMIT", 10)
    send_many(away.raw, away.room_id, range(12))
    away.come().query().count()
    store = away.client._client._store

    async def garble():
        kind = away.network.kind
        token = await store.rooms.token(kind)
        digest, _, pos = token.rpartition(" ")
        assert pos
        await store.rooms.apply([], tokens={kind: f"{digest} garbage".strip()})

    away.client._portal.call(garble)
    away.leave()
    send_many(away.raw, away.room_id, range(12, 42))
    collection = away.come()
    assert history(collection) == on_server(away.raw, away.room_id)
    query = collection.query()
    assert (query.count(), query.completeness.complete) == (42, True)


def test_a_replayed_response_changes_nothing_and_calls_nobody_twice(away):
    kept = []

    def replay(seen):
        if not seen.is_sync:
            return away.network.base(seen)

        def edit(body):
            if b"raw1" in body and not kept:
                kept.append(body)
            elif kept and len(kept) < 4:
                kept.append(b"")
                return kept[0]
            return body

        return edit

    away.network.fault = replay
    collection = away.come()
    with collection.subscribe() as sub:
        away.raw.send(away.room_id, content(1))
        assert sub.get(timeout=10).uid == "raw1"
        away.raw.send(away.room_id, content(2))
        away.raw.send(away.room_id, content(3))
        assert [sub.get(timeout=15).uid for _ in range(2)] == ["raw2", "raw3"]
    assert len(kept) > 1
    assert history(collection) == on_server(away.raw, away.room_id)


@pytest.mark.parametrize("network", ["sliding"], indirect=True)
@pytest.mark.parametrize("fault", [CUT, Answer(502, b"<html>"), Answer(200, b""), Answer(200, b'{"pos":')])
def test_sync_goes_on_after_any_failure(away, fault):
    collection = away.come()
    failed = []

    def fail(seen):
        if seen.is_sync and len(failed) < 2:
            failed.append(seen)
            return fault
        return away.network.base(seen)

    away.network.fault = fail
    with collection.subscribe() as sub:
        away.raw.send(away.room_id, content(1))
        assert sub.get(timeout=15).uid == "raw1"
    assert len(failed) == 2
    assert away.client.status().connected


@pytest.mark.parametrize("network", ["sliding"], indirect=True)
@pytest.mark.parametrize("page", [b'{"chunk":[],"end":"%d"}', b'{"chunk":[],"end":"loop"}'])
def test_pages_that_never_end_are_given_up_and_the_gap_stays_listed(away, monkeypatch, page):
    monkeypatch.setattr(sources, "TIMELINE_LIMIT", 5)
    send_many(away.raw, away.room_id, range(10))
    numbers = iter(range(10**6))

    def edit(seen):
        if paged(seen):
            return Answer(200, page % next(numbers) if b"%d" in page else page)
        return away.network.base(seen)

    away.network.fault = edit
    collection = away.come()
    with pytest.raises(md.PaginationLoop, match="loop"):
        collection.sync()
    asked = sum(paged(seen) for seen in away.network.seen)
    assert asked < 1000
    assert away.client.status().gaps == 1


@pytest.mark.parametrize("network", ["sliding"], indirect=True)
def test_empty_pages_that_go_on_are_followed(away, monkeypatch):
    monkeypatch.setattr(sources, "TIMELINE_LIMIT", 5)
    send_many(away.raw, away.room_id, range(20))
    emptied = []

    def first_page_is_empty(seen):
        if paged(seen) and not emptied:
            emptied.append(seen)
            # The same history goes on under another token, which the proxy turns back.
            return Answer(200, b'{"chunk":[],"end":"elsewhere"}')
        return away.network.base(seen)

    original = away.network.http.request

    def request(method, url, **options):
        start = parse_qs(urlsplit(emptied[0].path).query)["from"][0] if emptied else ""
        return original(method, url.replace("from=elsewhere", f"from={start}"), **options)

    away.network.http.request = request
    away.network.fault = first_page_is_empty
    collection = away.come()
    assert history(collection) == on_server(away.raw, away.room_id)
    assert emptied


@pytest.mark.parametrize("network", ["sliding"], indirect=True)
def test_a_way_to_sync_that_is_announced_and_missing_is_replaced_by_the_other(away):
    missing = Answer(404, b'{"errcode":"M_UNRECOGNIZED"}')
    away.network.fault = lambda seen: missing if "simplified_msc3575" in seen.path else None
    send_many(away.raw, away.room_id, range(3))
    query = away.come().query()
    assert (query.count(), query.completeness.complete) == (3, True)


def test_both_ways_to_sync_give_the_same_rows(server):
    raw = server.raw(server.name("owner"))
    room_id = raw.create_room(initial_state=[{"type": "io.example", "state_key": "k", "content": {"a": 1}}])
    event_ids = send_many(raw, room_id, range(120))
    raw.redact(room_id, event_ids[119])
    raw.put_state(room_id, "io.example", "k", {"a": 2})
    raw.send(room_id, {"x": 1}, "io.example.foreign")
    rows = []
    for kind in ("sliding", "v2"):
        proxy, name = server.proxy(), server.name()
        proxy.fault = hidden_sliding if kind == "v2" else proxy.fault
        raw.invite(room_id, server.user_id(name))
        collection = server.connect(name, url=proxy.url).collection(room_id)
        marked = raw.send(room_id, {}, "io.example.mark")
        rows.append(list(collection.history()))
        assert rows[-1][-1].event_id == marked
    short = min(map(len, rows))
    assert rows[0][:short] == rows[1][:short]
    states = [(row.row_state, row.type) for row in rows[0] if row.event_id == event_ids[119]]
    assert states == [("redacted", "io.matrixdata.record")]


def test_all_who_wait_for_history_are_told_how_far_it_is(server, monkeypatch):
    monkeypatch.setattr(sources, "TIMELINE_LIMIT", 5)
    name, proxy = server.name(), server.proxy()
    room_id = _filled(server, name, 12)
    collection = server.connect(name, url=proxy.url, store="elsewhere").collection(room_id)
    told = {"sync": [], "query": []}
    all_told = threading.Event()

    def tell(who):
        def told_of(state):
            told[who].append(state)
            if all(told.values()):
                all_told.set()

        return told_of

    proxy.fault = lambda seen: all_told.wait(30) and None if "from=" in seen.path else None
    with ThreadPoolExecutor() as threads:
        syncing = threads.submit(collection.sync, progress=tell("sync"))
        counting = threads.submit(collection.query(timeout=60, progress=tell("query")).count)
        assert (syncing.result(), counting.result()) == (None, 12)
    assert all_told.is_set()
    assert told["sync"][0].gaps == told["query"][0].gaps == 1
    states = sorted(told["sync"] + told["query"], key=lambda state: state.events)
    first, last = states[0], states[-1]
    assert (first.rate, last.gaps) == (0, 0)
    assert last.rate > 0
    assert last.span > first.span
    assert last.oldest + last.span / timedelta(milliseconds=1) == last.newest


def _filled(server, name, records):
    collection = server.connect(name).create_collection("filled", encrypted=False)
    collection.publish_many([{"n": n} for n in range(records)], wait="sent")
    return collection.room_id
