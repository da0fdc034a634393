"""How a client is doing, as `client.status()` and the client itself show it. Asks nothing of the server."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from matrixdata.model import html
from matrixdata.model.listing import readable
from matrixdata.receiving.records import moment

if TYPE_CHECKING:
    from datetime import datetime

    from matrixdata.collection.ports import Services
    from matrixdata.errors import LoggedOut, MatrixDataError
    from matrixdata.model.session import Session
    from matrixdata.receiving import SyncLoop
    from matrixdata.transport.caller import Caller


@dataclass(frozen=True, slots=True)
class Status:
    """How a client is doing.

    Attributes:
        connected: the server answered the last time it was asked.
        problem: why not, why syncing ended, or that the server was found to have been set back; None when all is well.
        following: rooms kept in step.
        synced_by: the process that asks the server for all processes on this store; None while none needs to.
        last_sync: when the server last answered a sync; aware, UTC; None before.
        queued: accepted records on their way.
        dropped: records that were dropped unsent because the store was full, since it was made.
        stuck: records that the server refused; kept in the outbox.
        gaps: stretches of history not fetched, over all rooms.
        gap_problem: why one of them could not be fetched at the last attempt; None where nothing is known against it.
        rate_limited: seconds that the server still asks us to wait.
        keys_problem: what is wrong with this device's keys and what you can do, such as a store in use on two machines;
            None when nothing is known.
        store: damage met in the store since this client was opened, and what was done about it; None when none was.
    """

    user_id: str
    homeserver: str
    device_id: str
    connected: bool
    problem: str | None
    following: int
    synced_by: int | None
    last_sync: datetime | None
    queued: int
    stuck: int
    dropped: int
    gaps: int
    invalid: int
    undecryptable: int
    rate_limited: float
    store: str | None = None
    gap_problem: str | None = None
    keys_problem: str | None = None

    def _repr_html_(self) -> str:
        """The facts, for notebooks; everything is escaped."""
        lacks = (
            [f"{self.stuck} records refused by the server; see client.outbox.list()"] if self.stuck else []
        )
        if self.store:
            lacks.insert(0, self.store)
        if self.dropped:
            lacks.append(f"{self.dropped} records were dropped unsent because the store was full")
        lacks += [problem for problem in (self.gap_problem, self.keys_problem) if problem]
        if self.problem:
            lacks.insert(0, self.problem)
        return html.panel(
            f"Status of {self.user_id}",
            html.facts((f.name.replace("_", " "), self._readable(f.name)) for f in fields(self)),
            warning="; ".join(lacks),
        )

    def _readable(self, name: str) -> str | None:
        if name == "rate_limited":
            return f"for {self.rate_limited:.1f} s" if self.rate_limited else "no"
        return readable(getattr(self, name))


def problem_of(logged_out: LoggedOut | None, loop: SyncLoop | None, caller: Caller) -> MatrixDataError | None:
    """What is wrong with a client, the gravest first; None when all is well."""
    syncing = (loop.fatal or loop.failing) if loop is not None else None
    return logged_out or syncing or caller.failing or (loop.set_back if loop is not None else None)


async def measured(
    session: Session, services: Services, loop: SyncLoop, problem: MatrixDataError | None
) -> Status:
    """How a client is doing now."""
    outbox, rows = await services.outbox.counts(), await services.rooms.counts()
    return Status(
        user_id=session.user_id,
        homeserver=session.homeserver,
        device_id=session.device_id,
        connected=problem is None or problem is loop.set_back,
        problem=str(problem) if problem else None,
        following=len(loop.live),
        synced_by=loop.leader or None,
        last_sync=moment(loop.last_answer) if loop.last_answer is not None else None,
        queued=outbox.get("queued", 0),
        stuck=outbox.get("stuck", 0),
        dropped=await services.quota.dropped(),
        gaps=rows["gaps"],
        invalid=rows["invalid"],
        undecryptable=rows["undecryptable"],
        rate_limited=services.caller.held_back,
        gap_problem=await services.rooms.gap_trouble() if rows["gaps"] else None,
    )


def client_html(
    session: Session, profile: str, loop: SyncLoop | None, problem: MatrixDataError | None, *, closed: bool
) -> str:
    """A client as HTML: who, where, and how fresh what it holds is; everything is escaped."""
    answered = loop.last_answer if loop is not None else None
    following = len(loop.live) if loop is not None else 0
    facts = [
        ("homeserver", session.homeserver),
        ("profile", profile),
        ("state", "closed" if closed else "open"),
        ("in step", f"{following} collection{'s' * (following != 1)}" if following else "none yet"),
        ("last answer", readable(moment(answered)) if answered is not None else None),
    ]
    return html.panel(
        f"Client of {session.user_id}",
        html.facts(facts[:3] if closed else facts),
        warning=f"not in step with the server: {problem}" if problem and not closed else "",
        note="" if closed else "client.collections() lists your collections, client.status() says more",
    )
