"""Results as files: which kinds there are, by the end of the name. Files appear complete or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

LINES = frozenset({".jsonl", ".ndjson"})
KINDS = ".parquet, .csv, .jsonl or .ndjson"


def _known(ctx: click.Context, _: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and kind(value) not in {".parquet", ".csv", *LINES}:
        raise click.UsageError(f"{str(value)!r}: the file's name should end in {KINDS}", ctx)
    return value


def kind(path: Path) -> str:
    """The end of a file's name, which says what is written to it."""
    return path.suffix.lower()


def output_option(command: F) -> F:
    """Give a command `-o FILE`, a Path with one of the known ends."""
    option = click.option(
        "-o",
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=_known,
        help=f"Write a file instead: {KINDS}. In CSV, what a spreadsheet would run as a formula is made inert.",
    )
    return option(command)
