"""What became of many records: told in the order they came, while more are still being read.

One thread waits for receipts and prints, so that a slow source shows its results at once and a fast one
is held back when too many are on their way.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Literal

from matrixdata.cli.failures import silence_stdout
from matrixdata.cli.output import Progress, on_terminal, say, write, write_json
from matrixdata.errors import ClientClosed, Rejected

if TYPE_CHECKING:
    from types import TracebackType

    import matrixdata as md
    from matrixdata.errors import RecordInvalid, TooLarge

Milestone = Literal["queued", "sent", "synced"]

_MOST_WAITING = 1000
_PROGRESS_SECONDS = 0.2


class Outcomes:
    """Takes receipts in a `with` block; leaving it waits for the last of them and prints a summary.

    Args:
        wait: how far each record should get.
        timeout: seconds without any progress after which records are told as they stand. None is lost.
        as_json: a line of JSON for each record; otherwise only the summary.
    """

    def __init__(self, *, wait: Milestone, timeout: float, as_json: bool) -> None:
        self._wait = wait
        self._timeout = timeout
        self._as_json = as_json
        self._waiting: queue.Queue[tuple[int, md.Receipt] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._tell_all, name="outcomes", daemon=True)
        self._progress = Progress()
        self._lock = threading.Lock()
        self._shown_at = 0.0
        self._stalled = False
        self._broken: BaseException | None = None
        self._accepted = self._refused = 0
        self._states = dict.fromkeys(("queued", "sent", "synced", "stuck"), 0)

    @property
    def good(self) -> bool:
        """Nothing was refused, here or by the server."""
        return not self._refused and not self._states["stuck"]

    def __enter__(self) -> Outcomes:
        """Start telling."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is on its way, unless the block was left in haste; then sum up."""
        if kind is None:
            self._put(None)
            self._thread.join()
        self._progress.clear()
        self._sum_up()
        if kind is None and self._broken is not None:
            raise self._broken

    def add(self, number: int, receipt: md.Receipt) -> None:
        """An accepted record. Waits while too many are on their way, but never longer than they progress."""
        self._accepted += 1
        self._put((number, receipt))

    def refuse(self, place: str, error: RecordInvalid | TooLarge) -> None:
        """A record that was not accepted; every reason is told with its place."""
        self._refused += 1
        with self._lock:
            self._progress.clear()
            for reason in getattr(error, "problems", (error,)):
                say(f"{place}: {reason}", label="error")

    def _put(self, item: tuple[int, md.Receipt] | None) -> None:
        while self._thread.is_alive():
            try:
                self._waiting.put(item, timeout=0.5)
            except queue.Full:
                continue
            return

    # -- in the thread ----------------------------------------------------------------------------------
    def _tell_all(self) -> None:
        try:
            while (item := self._waiting.get()) is not None:
                self._tell(*item)
        except (ClientClosed, CancelledError):
            pass  # left in haste: the records are safe, and the summary counts them as queued
        except BaseException as error:  # noqa: BLE001  the edge of a thread: told where the block is left
            self._broken = error

    def _tell(self, number: int, receipt: md.Receipt) -> None:
        state = self._settled(receipt)
        self._states[state] += 1
        with self._lock:
            if state == "stuck":
                self._progress.clear()
                say(f"record {receipt.uid} was refused by the server: {receipt.reason}", label="error")
            if self._as_json:
                self._write(
                    {"line": number, "uid": receipt.uid, "event_id": receipt.event_id, "state": state}
                )
            self._show()

    def _settled(self, receipt: md.Receipt) -> str:
        # After one record ran out of time the others are not each given as long, until one gets through.
        patience = 0.0 if self._stalled else self._timeout
        try:
            receipt.wait("queued", timeout=None)  # one that is held yet is stored within the linger
            state = receipt.wait(self._wait, timeout=patience)
        except Rejected:
            return "stuck"
        self._stalled = state == "queued" and self._wait != "queued"
        return state

    def _write(self, outcome: dict[str, str | int | None]) -> None:
        try:
            write_json({**outcome})
        except BrokenPipeError:  # nobody wants to know any more; the records are published all the same
            silence_stdout()
            self._as_json = False

    # -- telling ----------------------------------------------------------------------------------------
    def _show(self) -> None:
        now = time.monotonic()
        if now - self._shown_at >= _PROGRESS_SECONDS:
            self._shown_at = now
            self._progress.show(f"{self._accepted:,} accepted, {self._sent:,} sent")

    @property
    def _sent(self) -> int:
        return self._states["sent"] + self._states["synced"]

    def _sum_up(self) -> None:
        parts = [f"{self._accepted:,} accepted", f"{self._sent:,} sent"]
        queued = self._accepted - self._sent - self._states["stuck"]
        if queued:
            parts.append(f"{queued:,} safe here and sent later")
        if self._states["stuck"]:
            parts.append(f"{self._states['stuck']:,} refused by the server")
        if self._refused:
            parts.append(f"{self._refused:,} refused here")
        (write if on_terminal() and not self._as_json else say)(", ".join(parts))
