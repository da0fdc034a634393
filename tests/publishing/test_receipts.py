"""Receipts hear of a record from several sides at once: the sender, sync, and what other processes committed."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from matrixdata.publishing import Receipts
from matrixdata.replica.outbox_item import OutboxItem

ITEM = OutboxItem(
    room_id="!r:x", uid="u", txn_id="t", type="io.matrixdata.record", content=b"{}", value=b"1", time=0,
    accepted_at=0,
)  # fmt: skip


@pytest.mark.parametrize(("late", "now"), [*itertools.combinations(("queued", "sent", "synced"), 2)])
def test_what_was_read_before_and_is_told_late_takes_nothing_back(late: str, now: str) -> None:
    receipts = Receipts()
    receipt = receipts.open(ITEM)
    receipts.update(replace(ITEM, state=now, event_id="$e"))
    receipts.update(replace(ITEM, state=late))
    assert (receipt.state, receipt.event_id) == (now, "$e")


def test_what_is_stuck_is_queued_again_by_a_retry() -> None:
    receipts = Receipts()
    receipt = receipts.open(ITEM)
    for state in ("sent", "stuck", "queued", "sent"):
        receipts.update(replace(ITEM, state=state))
        assert receipt.state == state
