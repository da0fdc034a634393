"""How things show themselves: in notebooks and at a prompt, at once, and harmless whatever others wrote into them."""

from __future__ import annotations

import copy
import csv
import io
import pickle
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import matrixdata as md
from matrixdata.collection import OutboxEntry, RejectedRow
from matrixdata.model.listing import Listing, as_json, readable
from tests.faults.harness import Break, fault
from tests.servers import encoded, wait_until

EVIL = [
    "<script>alert(1)</script>",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "=cmd()|'/C calc'!A0",
    "\u202egnp.exe",
]
TIME = datetime(2026, 1, 1, tzinfo=UTC)
TAGS = {"div", "b", "style", "table", "thead", "tbody", "tr", "th", "td"}


def check_inert(html):
    """Only our own tags, none with an attribute that acts, and no character that a terminal would obey."""
    for tag, attributes in re.findall(r"<\s*/?\s*([^\s>]*)([^>]*)>", html):
        assert tag in TAGS
        assert re.fullmatch(r'(\s+class="[a-z]+")?', attributes)
    check_quiet(html)


def check_quiet(text):
    assert text.replace("\n", "").isprintable()


def check(thing):
    check_quiet(repr(thing))
    check_inert(thing._repr_html_())


@pytest.mark.parametrize("evil", EVIL)
def test_what_others_wrote_is_inert(evil):
    problem = md.Problem(f"/{evil}", evil, "must be a number, not text", repr(evil))
    record = md.Record({evil: evil, "deep": [{evil: [evil]}]}, evil, evil, TIME, None, evil)
    for thing in (
        record,
        md.Record(evil, evil, evil, TIME, md.Position(1), evil),
        md.InvalidRecord(evil, evil, TIME, {evil: evil}, (problem,)),
        md.CollectionInfo(evil, None, evil, encrypted=False, members=2),
        md.PublishReport(2, 0, stuck=((evil, evil),), rejected=(RejectedRow(0, (problem,)),)),
        Listing(
            [md.InvalidRecord(evil, evil, TIME, evil, (problem,))], columns=("sender", "content", "problems")
        ),
        Listing(
            [OutboxEntry(evil, evil, "stuck", evil, {evil: evil}, TIME)], columns=("uid", "reason", "value")
        ),
    ):
        check(thing)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values, st.text())
def test_no_value_makes_it_raise_or_act(value, text):
    check(md.Record(value, text, text, TIME, None, text))
    check(md.InvalidRecord(text, text, TIME, value, (md.Problem(text, text, "no", text),)))
    check_quiet(as_json(value))


def test_what_cannot_be_printed_is_shown_all_the_same():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for value in (10**5000, deep, {1, 2}, object(), b"\x1b"):
        check_quiet(as_json(value))
        check(md.InvalidRecord("$e", "@a:b", TIME, value, ()))
    while deep:  # taken apart here: Python's own way out of it is recursive
        deep = deep.pop()


def test_long_things_are_cut():
    assert (
        len(md.Record({f"k{n}": "x" * 500 for n in range(500)}, "$e", "@a:b", TIME, None, "u")._repr_html_())
        < 20_000
    )
    assert len(Listing(["x"] * 10_000)._repr_html_()) < 2_000
    assert repr(Listing(range(1000))).endswith("… 950 more]")


def test_a_listing_is_a_list():
    made = Listing([1, 2, 3], title="number", columns=("real",))
    assert made == [1, 2, 3]
    assert isinstance(made, list)
    assert (made[1:], [*reversed(made)], [*made, 4], sorted(made)) == ([2, 3], [3, 2, 1], [1, 2, 3, 4], made)
    for twin in (pickle.loads(pickle.dumps(made)), copy.copy(made), copy.deepcopy(made)):
        assert twin == made
        assert twin._repr_html_() == made._repr_html_()
    assert "3 numbers" in made._repr_html_()
    assert "0 numbers" in Listing(title="number", columns=("real",))._repr_html_()
    assert repr(Listing()) == "[]"


def test_times_and_truth_read_as_people_write_them():
    assert readable(TIME) == "2026-01-01 00:00:00+00:00"
    assert (readable(True), readable(None), readable({"a": 1})) == ("yes", None, '{"a": 1}')


@pytest.mark.server
@fault(
    "T-B1", "T-B9", broken=Break("matrixdata/model/html.py", "return escape(text if", "return str(text if")
)
def test_everything_of_a_client_shows_itself_without_asking_anything(server, tmp_path):
    proxy = server.proxy()
    client = server.connect(server.name("display"), url=proxy.url)
    schema = {"title": EVIL[0], "type": "object", "properties": {evil: {"type": "string"} for evil in EVIL}}
    collection = client.create_collection("evil", schema=schema, encrypted=False)
    stranger = server.raw(server.name("stranger"))
    stranger.call(
        "PUT", f"{encoded('profile', stranger.user_id)}/displayname", {"displayname": EVIL[0] + EVIL[1]}
    )
    stranger.invite(stranger.create_room(name="".join(EVIL)), client.user_id)
    collection.invite(stranger.user_id)
    receipt = collection.publish({evil: evil for evil in EVIL}, wait="synced")
    query, sub = collection.query({EVIL[2]: EVIL[2]}, since="-1h"), collection.subscribe()
    assert "not run yet" in repr(query)
    assert "not run yet" in query._repr_html_()
    (record,) = query.records()
    (invite,) = invites = wait_until(client.invites)
    members = collection.members()
    things = [
        *(client, collection, receipt, query, record, invite, invites, members, client.status()),
        *(client.collections(), client.collections()[0], collection.invalid(), client.outbox.list()),
        *(collection.history(), collection.state(), collection.publish_many([{EVIL[0]: 1}])),
    ]
    people = members.records()
    chosen = client.sql(f"select '{EVIL[0]}' as \"{EVIL[1]}\", '{EVIL[3]}' from evil")
    check(chosen)
    assert chosen.count() == 1
    things.append(chosen)
    file = query.to_csv(tmp_path / "evil.csv")
    proxy.down()
    for thing in things:
        check(thing)
    for thing in (sub, client.outbox, *people):
        check_quiet(repr(thing))
    assert "complete" in query._repr_html_()
    assert EVIL[2].split("(")[0] in query._repr_html_()
    assert client.user_id in client._repr_html_()
    # The same text in a file for spreadsheets: nothing in it is a formula.
    rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"), newline="")))
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    client.close()
    for thing in things:
        check(thing)
    assert "closed" in client._repr_html_()


@pytest.mark.server
def test_an_incomplete_result_warns_where_it_is_shown(server):
    proxy = server.proxy()
    client = server.connect(server.name("display"), url=proxy.url)
    collection = client.create_collection("x", encrypted=False)
    collection.publish({"n": 1}, wait="synced")
    query = collection.query(timeout=0, on_incomplete="ignore")
    assert 'class="warn"' not in query._repr_html_()
    query.count()
    for shown in (query._repr_html_(), collection._repr_html_()):
        assert 'class="warn"' in shown
        assert "newer rows may exist" in shown
    proxy.down()
    receipt = collection.publish({"n": 2}, wait="queued")
    assert "queued" in receipt._repr_html_()
    pending = [record for record in collection.query(timeout=0) if record.event_id is None]
    assert 'class="warn"' in pending[0]._repr_html_()
    assert "not in step" in wait_until(lambda: "warn" in client._repr_html_() and client._repr_html_())
