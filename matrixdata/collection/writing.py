"""What `publish` and `publish_many` do: check, accept durably, wait as long as asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.collection.bulk import Bulk, OnError, Progress
from matrixdata.collection.resuming import Resumption, checked_job
from matrixdata.errors import Rejected, StoreFull

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matrixdata.collection.ports import Services
    from matrixdata.collection.report import PublishReport
    from matrixdata.publishing import AsyncReceipt, Milestone


async def publish_one(
    services: Services,
    room_id: str,
    record: Mapping[str, object],
    *,
    wait: Milestone,
    timeout: float,
    uid: str | None,
) -> AsyncReceipt:
    """See `AsyncCollection.publish`."""
    check_wait(wait, services)
    await services.standing.check_writable(room_id)
    rules = await services.intake.rules(room_id)
    item = services.acceptance.prepare(record, room_id=room_id, rules=rules, uid=uid)
    if uid is not None:
        # The outbox forgets what has arrived; the replica does not.
        event = await services.rooms.find(room_id, services.user_id, uid)
        if event is not None:
            return services.acceptance.arrived(item, event)
    (receipt,) = await services.acceptance.accept([item])
    services.sender.wake()
    if wait == "synced":
        await services.freshness.follow(room_id, timeout=timeout)
    if wait != "queued":
        try:
            await receipt.wait(wait, timeout=timeout)
            held = services.sealing.held(room_id) if receipt.reason == "identity_changed" else None
            if held is not None:
                raise held
        except Rejected:
            await services.standing.explain(room_id)
            raise
    return receipt


async def publish_rows(
    services: Services,
    room_id: str,
    rows: object,
    *,
    on_error: OnError,
    wait: Milestone,
    timeout: float,
    job: str | None,
    batch: bool | None,
    progress: Progress | None,
) -> PublishReport:
    """See `AsyncCollection.publish_many`."""
    check_wait(wait, services)
    name = checked_job(job) if job is not None else None
    await services.standing.check_writable(room_id)
    resumed = None
    if name is not None:
        resumed = Resumption(room_id, name, await services.jobs.accepted(room_id, name))
    rules = await services.intake.rules(room_id)
    bulk = Bulk(services, room_id, rules, on_error=on_error, job=resumed, batch=batch)
    try:
        await bulk.accept(rows, progress)
    except StoreFull as error:
        report = bulk.report()
        before = (
            f"; {report.accepted:,} rows were accepted before that, see .report" if report.accepted else ""
        )
        raise StoreFull(f"{error}{before}", report=report) from error
    if wait == "synced":
        await services.freshness.follow(room_id, timeout=timeout)
    if wait != "queued":
        await bulk.finish(wait, timeout=timeout, progress=progress)
    return bulk.report()


def check_wait(wait: str, services: Services) -> None:
    """ValueError for anything but the three milestones; Unsupported for one that this client never sees."""
    if wait not in {"queued", "sent", "synced"}:
        raise ValueError(f'wait={wait!r}; it takes "queued", "sent" or "synced"')
    if wait == "synced":
        services.check_reading()
