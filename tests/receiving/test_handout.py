"""Between reading ahead and handing out nothing is lost or doubled, whatever is interrupted."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from matrixdata.model import CaughtUp, Dropped, Position, Record
from matrixdata.receiving.handout import Handout
from matrixdata.replica.account import Cursor

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def cursor(number):
    return Cursor("r", number)


def entry(number):
    return cursor(number), Record(number, f"$e{number}", "@a:b", NOW, Position(number, "r"), f"u{number}")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("more"), st.integers(0, 5)),
        st.tuples(st.sampled_from(["get", "take", "interrupted"]), st.integers(1, 4)),
    ),
    max_size=60,
)


@given(STEPS)
def test_each_item_is_handled_once_and_the_cursor_never_passes_what_is_not(steps):
    hand, made, got = Handout(), 0, []
    for step, count in [*steps, ("take", 400)]:
        if step == "more":
            hand.extend([entry(made + n) for n in range(1, count + 1)])
            made += count
            continue
        hand.acknowledge()
        assert hand.at == (cursor(got[-1]) if got else None)
        if step == "get" and hand.has(records_only=True):
            got.append(hand.give(records_only=False).value)
        elif step == "take":
            hand.handed, records = hand.records_to(count)
            got += [record.value for record in records]
        else:
            hand.records_to(count)
    assert got == list(range(1, made + 1))


@given(st.lists(st.integers(1, 7), max_size=8), st.integers(1, 6))
def test_trimming_keeps_the_newest_and_counts_the_rest(pages, most):
    hand, made = Handout(), 0
    for page in pages:
        hand.extend([entry(made + n) for n in range(1, page + 1)])
        made += page
        hand.trim(most)
    items = []
    while hand.has(records_only=False):
        items.append(hand.give(records_only=False))
        hand.acknowledge()
    kept = [item.value for item in items if isinstance(item, Record)]
    told = [item.count for item in items if isinstance(item, Dropped)]
    assert kept == list(range(max(0, made - most) + 1, made + 1))
    assert sum(told) == hand.dropped == made - len(kept)
    assert len(told) <= 1


def test_what_tells_of_the_stream_is_never_dropped_and_passed_over_by_who_reads_records_only():
    hand, told = Handout(), CaughtUp(Position(2, "r"))
    hand.extend([entry(1), (cursor(2), told), entry(3), entry(4)])
    hand.trim(1)
    assert hand.give(records_only=False) == told
    hand.acknowledge()
    assert hand.give(records_only=False) == Dropped(2)
    hand.acknowledge()
    hand.extend([(cursor(4), told), entry(5)])
    assert hand.give(records_only=False).value == 4
    hand.acknowledge()
    assert hand.has(records_only=True)
    assert hand.give(records_only=False).value == 5
    hand.acknowledge()
    assert hand.at == cursor(5)


def test_a_place_is_saved_at_once_or_a_while_after_the_last_time():
    now = [0.0]
    hand = Handout(clock=lambda: now[0])
    hand.extend([entry(1), entry(2)])
    hand.give(records_only=False)
    hand.acknowledge()
    assert hand.unsaved(now=False) is None
    assert hand.unsaved(now=True) == cursor(1)
    hand.saved(cursor(1))
    assert hand.unsaved(now=True) is None
    hand.give(records_only=False)
    hand.acknowledge()
    assert hand.unsaved(now=False) is None
    now[0] = 1.0
    assert hand.unsaved(now=False) == cursor(2)


def test_tasks_that_read_at_once_get_different_items():
    hand = Handout()
    hand.extend([entry(1), (cursor(1), CaughtUp(Position(1, "r"))), entry(2)])
    assert [hand.give(records_only=True).value for _ in range(2) if hand.has(records_only=True)] == [1, 2]
    assert not hand.has(records_only=True)
    assert hand.waiting() == 0
