"""The demo's other processes: started, listened to, and ended whatever happens.

Their lines appear with their name before them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import NoReturn

import click

from matrixdata.cli.failures import INTERRUPTED, message_of
from matrixdata.cli.output import inert, json_line
from matrixdata.errors import MatrixDataError
from matrixdata.model import JSON

READY = "listening"
"""What the subscriber says once nothing that is sent can pass it by."""
SENT = "sent in all:"
"""After which the publisher says how many."""
SENDER = "sensor"
"""The user on the embedded homeserver that the publisher is."""

_print = threading.Lock()


class Process:
    """One of them, in a `with` block; leaving it ends the process.

    Args:
        module: `python -m` runs it, with `arguments`.
        lines: what its standard input holds; None to `tell` it later.
    """

    def __init__(self, module: str, *arguments: str, lines: Iterable[JSON] | None = None) -> None:
        self.name = module.rpartition(".")[2]
        self._command = [sys.executable, "-m", module, *arguments]
        self._lines = lines
        self._heard: list[str] = []
        self._changed = threading.Condition()
        self._ended = False

    def __enter__(self) -> Process:
        """Start it."""
        with tempfile.TemporaryFile() as given:
            if self._lines is not None:
                given.writelines(json_line(line).encode() + b"\n" for line in self._lines)
                given.seek(0)
            self._process = subprocess.Popen(  # noqa: S603  our own module, no shell
                self._command,
                stdin=subprocess.PIPE if self._lines is None else given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            )
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  asked for above
        for line in self._process.stdout:
            text = line.rstrip()
            if not text.startswith(SENT):
                with _print:
                    click.echo(f"{self.name:>10} │ {inert(text)}")
            with self._changed:
                self._heard.append(text)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def until(self, beginning: str, *, timeout: float) -> str:
        """Wait until it prints a line that begins so, and return the rest of that line.

        Raises:
            MatrixDataError: it ended before, or did not in `timeout` seconds.
        """

        def found() -> str | None:
            return next((line for line in self._heard if line.startswith(beginning)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._ended, timeout)
            line = found()
        if line is None:
            how = "ended" if self._ended else f"took longer than {timeout:g} s"
            raise MatrixDataError(f"the {self.name} {how}; what it said is above")
        return line.removeprefix(beginning).strip()

    def tell(self, line: str) -> None:
        """Write a line to its standard input, which is then closed."""
        assert self._process.stdin is not None  # noqa: S101  made without `lines`
        self._process.stdin.write(line + "\n")
        self._process.stdin.close()

    def finish(self, *, timeout: float) -> None:
        """Wait for its end.

        Raises:
            MatrixDataError: it failed, or did not end in `timeout` seconds.
        """
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise MatrixDataError(f"the {self.name} took longer than {timeout:g} s") from None
        self._reader.join()
        if code:
            raise MatrixDataError(f"the {self.name} failed (exit code {code}); what it said is above")


def part(run: Callable[[], int]) -> NoReturn:
    """Be one of those processes: print line by line, and end without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", line_buffering=True)  # type: ignore[union-attr]  # they are text files
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # as above
    try:
        code = run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001  the edge of a process: its reader wants a sentence
        print(message_of(error))
        code = 1
    sys.exit(code)
