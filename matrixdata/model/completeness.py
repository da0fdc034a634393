"""What a result lacks, counted: shown wherever the result is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MENDING: Final[Mapping[str, str]] = {
    "no_key": "its sender has not shared the key with this device; it is read when the key comes, also from a backup",
    "withheld": "its sender refuses this device the key; collection.history() says why",
    "too_early": "it was sent before this device was given the key; a backup may have it",
    "replayed": "a copy of another event, which counts",
    "mismatch": "not from whom it claims to be",
    "untrusted": "from a device that its owner has not signed; it is read once that is done, or with another trust=",
    "corrupt": "damaged, or no event",
    "unsupported": "encrypted in a way that this version does not read",
}
"""What would mend an event that cannot be read, by its cause."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """Rows that a result lacks or holds provisionally.

    Attributes:
        gaps: stretches of the room's history that were not fetched yet. Each may hold rows of any time, for a record's
            own time need not be that of its event.
        undecryptable: events that cannot be read, or not yet.
        invalid: quarantined events, listed by `collection.invalid()`.
        pending: rows included that have not yet been seen to arrive at the server.
        forgotten: rows included that the server once had and no longer has, as after its restore from a backup.
        left: since when we are no longer a member of the room, ISO 8601 in UTC; "" where that is not known, None
            while we are one.
        gap_problem: why a gap could not be filled at the last attempt; None where nothing is known against it.
        causes: how many of the undecryptable are so for each reason, a word of docs/encryption.md's table.
        fresh: the replica held all the server had when the query was asked; False also where nobody asked it.
    """

    gaps: int = 0
    undecryptable: int = 0
    invalid: int = 0
    pending: int = 0
    fresh: bool = True
    forgotten: int = 0
    left: str | None = None
    gap_problem: str | None = None
    causes: Mapping[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """True when no row is missing: no gap, nothing undecryptable but copies, fresh, and still a member."""
        unread = self.undecryptable - self.causes.get("replayed", 0)
        return self.gaps == 0 and unread == 0 and self.fresh and self.left is None

    def as_dict(self) -> dict[str, int | bool | str | None]:
        """The counts as plain values, for `DataFrame.attrs` and JSON."""
        return {
            "complete": self.complete,
            "gaps": self.gaps,
            "undecryptable": self.undecryptable,
            "invalid": self.invalid,
            "pending": self.pending,
            "fresh": self.fresh,
            "forgotten": self.forgotten,
            "left": self.left,
            "gap_problem": self.gap_problem,
            **{f"undecryptable_{cause}": count for cause, count in self.causes.items()},
        }

    def __str__(self) -> str:
        parts = []
        if self.gaps:
            why = f" ({self.gap_problem})" if self.gap_problem else ""
            parts.append(
                f"{self.gaps} gap{'s' * (self.gaps > 1)} in the history{why}; call collection.sync()"
            )
        if self.undecryptable:
            parts.append(f"{self.undecryptable} undecryptable{self._why()}")
        if self.invalid:
            parts.append(f"{self.invalid} quarantined; see collection.invalid()")
        if self.pending:
            parts.append(f"{self.pending} still to be sent")
        if self.forgotten:
            parts.append(
                f"{self.forgotten} that the server has forgotten since, as after a restore from a backup"
            )
        if self.left is not None:
            since = f" since {self.left}" if self.left else ""
            parts.append(f"no longer a member of the room{since}; what came later is not here")
        elif not self.fresh:
            parts.append("the server was not asked or not reached; newer rows may exist")
        return "; ".join(parts) or "complete"

    def _why(self) -> str:
        """The reasons, each with what mends it."""
        said = [f"{count} {cause}: {MENDING.get(cause, cause)}" for cause, count in self.causes.items()]
        return f" ({'; '.join(said)})" if said else ""
