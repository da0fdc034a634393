"""A real kernel, as a notebook server would start it, driven from a test."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import KernelManager

from tests.requirements import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 60  # for what is not measured: a busy machine may take its time


@dataclass(frozen=True)
class Ran:
    """What came of a cell: its outputs by kind, and the name of its error."""

    text: str
    html: str
    error: str
    traceback: str
    ended: float

    @property
    def well(self) -> Ran:
        assert not self.error, self.traceback
        return self


class Kernel:
    """Runs cells in one kernel."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.client = manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)

    def run(self, code: str) -> Ran:
        """Run a cell to its end, which must be a good one."""
        return self.attempt(code).well

    def attempt(self, code: str) -> Ran:
        """Run a cell to its end, whatever that is."""
        return self._collect(self.client.execute(code), lambda _: None)

    def watch(self, code: str, look: Callable[[str], None]) -> Ran:
        """Run a cell to its good end; `look` is called with all it has shown, each time it shows something."""
        return self._collect(self.client.execute(code), look).well

    def restart(self) -> None:
        """Take the process away and start another, as the restart button does."""
        self.manager.restart_kernel(now=True)
        self.client.wait_for_ready(timeout=SECONDS)

    def interrupt(
        self, code: str, *, when: str, and_then: Callable[[], object] = lambda: None
    ) -> tuple[Ran, float]:
        """Run a cell and interrupt it once it printed `when`: what came of it, and after how many seconds.

        `and_then` runs before the interrupt, to wait for something more.
        """
        asked: list[float] = []

        def look(text: str) -> None:
            if when in text and not asked:
                and_then()
                asked.append(time.monotonic())
                self.manager.interrupt_kernel()

        ran = self._collect(self.client.execute(code), look)
        assert asked, f"it ended before it printed {when!r}: {ran}"
        return ran, ran.ended - asked[0]

    def _collect(self, request: str, look: Callable[[str], None]) -> Ran:
        texts, shown, error, traceback = [], [], "", ""
        until = time.monotonic() + SECONDS
        ended = 0.0  # when the error was told, else when the kernel was idle again
        while time.monotonic() < until:
            with contextlib.suppress(Empty):
                message = self.client.get_iopub_msg(timeout=1)
                kind, content = message["msg_type"], message["content"]
                if message["parent_header"].get("msg_id") != request:
                    continue
                if kind == "stream":
                    texts.append(content["text"])
                    look("".join([*texts, *shown]))
                elif kind in {"execute_result", "display_data"}:
                    texts.append(content["data"].get("text/plain", ""))
                    shown.append(content["data"].get("text/html", ""))
                    look("".join([*texts, *shown]))
                elif kind == "error":
                    ended = ended or time.monotonic()
                    error, traceback = content["ename"], "\n".join(content["traceback"])
                elif kind == "status" and content["execution_state"] == "idle":
                    ended = ended or time.monotonic()
                    return Ran("".join(texts), "".join(shown), error, traceback, ended)
        raise AssertionError(f"the cell did not end; so far: {texts}")

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@contextlib.contextmanager
def kernel(home: Path) -> Iterator[Kernel]:
    """A fresh kernel whose data directory is `home`."""
    environment: dict[str, Any] = {
        **os.environ,
        "MATRIXDATA_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "IPYTHONDIR": str(home / "ipython"),
    }
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=environment, cwd=str(home.parent))
    it = Kernel(manager)
    try:
        yield it
    finally:
        it.close()
