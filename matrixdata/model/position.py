"""A place in a collection's change feed that can be written down and come back to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Everything a replica had committed up to and including one change.

    Positions order within one replica. `str(position)` is a token that `Position.parse` reads back, to be
    kept in a file or a URL.

    Attributes:
        change: number of the change in the replica's feed; rises by one a change, never reused.
        replica: which replica counted: a replica rebuilt from the server counts anew.
    """

    change: int
    replica: str = ""

    def __str__(self) -> str:
        return f"{self.replica}:{self.change}"

    @classmethod
    def parse(cls, token: str) -> Position:
        """Read `str(position)` back. Raises ValueError for anything else."""
        replica, separator, change = token.rpartition(":")
        if not separator or not change.isdecimal():
            raise ValueError(f"not a position: {token!r}; use str(record.position)")
        return cls(int(change), replica)
