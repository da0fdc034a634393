"""Whoever goes on behind the anchor misses nothing that was not handed out, in whatever order things came."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from matrixdata.receiving.anchoring import Anchor
from matrixdata.replica.rows import FeedEntry, FeedPage, GapRow, StoredEvent


def entry(change, position, kind="live"):
    event = StoredEvent(
        f"${position}", "t", None, "@a:b", 0, b"{}", "valid", None, None, b"1", 0, change, edited=False
    )
    return FeedEntry(change, kind, event, record=True, shadowed=False, repeat=False, position=position)


def page(entries, *gaps):
    return FeedPage(tuple(entries), entries[-1].change if entries else 0, more=False, gaps=gaps)


@given(st.permutations(range(1, 9)), st.sets(st.integers(1, 8)))
@settings(deadline=None)
def test_nothing_that_is_still_to_be_handed_out_stands_before_the_anchor(order, edited):
    entries = [entry(change, position) for change, position in enumerate(order, start=1)]
    anchor = Anchor("$0")
    anchors = anchor.through(page(entries), since=None)
    for done in range(1, 9):
        left = [each.position for each in entries[done:]]
        assert all(int(anchors[done][1:]) < position for position in left)
    assert anchor.event_id == "$8"
    later = [entry(100 + position, position, "edited") for position in sorted(edited)]
    assert anchor.through(page(later), since=None) == dict.fromkeys((e.change for e in later), "$8")


@given(st.integers(0, 5), st.none() | st.integers(0, 5))
@settings(deadline=None)
def test_it_stays_before_a_gap_that_is_news_to_the_reader(opened, since):
    gap = GapRow(1, "!room", "t", False, opened)
    anchor = Anchor("$0")
    anchor.through(page([entry(7, 9)], gap), since=since)
    assert (anchor.event_id == "$0") == (since is None or opened >= since)
    anchor.through(page([]), since=since)
    anchor.through(page([entry(8, 4, "backfilled")]), since=since)
    assert anchor.event_id == "$9"
