"""Records out of a file or a stream: JSON Lines as they come, or one JSON document.

What cannot be read is handed out in its place, so that the records after it still are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from matrixdata.errors import RecordInvalid
from matrixdata.model import Problem
from matrixdata.protocol.strict import loads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matrixdata.model import JSON

Found: TypeAlias = "tuple[int, JSON | RecordInvalid]"
"""The number of the line or record, from 1, and what stood there."""

MAX_LINE = 1 << 20
"""Bytes; an event holds 64 KiB, so a longer line is no record, and is not read into memory whole."""
LINES = frozenset({".jsonl", ".ndjson"})


def json_lines(stream: BinaryIO) -> Iterator[Found]:
    """Each line of a stream as soon as it is there; empty lines are passed over."""
    number = 0
    while line := stream.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            _skip_to_end_of_line(stream)
            problem = Problem("", "size", f"this line is longer than {MAX_LINE:,} bytes")
            yield number, RecordInvalid([problem], subject="line")
        elif line.strip():
            yield number, _read(line)


def json_document(path: Path) -> Iterator[Found]:
    """The record, or the records of the array, in a JSON file.

    Raises:
        RecordInvalid: the file is no JSON document.
    """
    document = loads(path.read_bytes())
    yield from enumerate(document if isinstance(document, list) else [document], start=1)


def _read(line: bytes) -> JSON | RecordInvalid:
    try:
        return loads(line.rstrip(b"\r\n"))
    except RecordInvalid as error:
        return error


def _skip_to_end_of_line(stream: BinaryIO) -> None:
    while (rest := stream.readline(MAX_LINE)) and not rest.endswith(b"\n"):
        pass
