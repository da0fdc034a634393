"""The demo's subscriber, a process of its own: `python -m matrixdata.cli.demo.subscriber NAME TIME`.

Prints records as they arrive (some of them, when there are many), until it is told on standard input how
many were sent, and has that many.
"""

from __future__ import annotations

import sys
import threading

import matrixdata as md
from matrixdata.cli.demo.processes import READY, SENDER, part
from matrixdata.cli.output import inert

_FIRST, _EVERY = 3, 30
_PATIENCE = 15.0
"""Seconds without a record, once all were sent, after which something is wrong."""


class Expected:
    """How many records to wait for, once standard input says so; its end says that nobody waits for us."""

    def __init__(self) -> None:
        self.count: int | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        line = sys.stdin.readline()
        self.count = int(line) if line.strip() else 0


def run(name: str, time: str) -> int:
    """Subscribe and print; 0 if everything that was sent arrived."""
    expected = Expected()
    with md.connect("local") as client, client.collection(name).subscribe(start="new") as subscription:
        print(READY)
        got, waited = 0, 0.0
        while expected.count is None or got < expected.count:
            try:
                record = subscription.get(timeout=0.25)
            except TimeoutError:
                waited += 0.25 if expected.count is not None else 0.0
                if waited > _PATIENCE:
                    print(f"{got} of {expected.count} arrived, and then none for {_PATIENCE:.0f} s")
                    return 1
                continue
            if not record.sender.startswith(f"@{SENDER}:"):
                continue  # somebody else writes here too
            got, waited = got + 1, 0.0
            if got <= _FIRST or got % _EVERY == 0:
                print(f"{got:>4}  {_shown(record.value, time)}")
        print(f"all {got} arrived")
    return 0


def _shown(value: object, time: str) -> str:
    if not isinstance(value, dict):
        return inert(str(value))
    cells = [f"{key} {item}" for key, item in value.items() if key != time]
    return inert("  ".join([str(value.get(time)), *cells[:4]]))


if __name__ == "__main__":
    part(lambda: run(sys.argv[1], sys.argv[2]))
