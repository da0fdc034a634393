"""Record values to a CSV file (RFC 4180, UTF-8) that a spreadsheet may open. Writes only where asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matrixdata.errors import MissingExtra
from matrixdata.frames.atomic import written
from matrixdata.frames.columns import assemble
from matrixdata.frames.types import Column, Scalar

if TYPE_CHECKING:
    import os

    from matrixdata.model.json import JSON

_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001  full-width forms start a formula too
"""What makes a spreadsheet run a cell (OWASP, "CSV Injection")."""
_NEEDS_QUOTES = re.compile(r'[",\r\n]|\A\s|\s\Z|\A\Z')
_PAGE = 10_000


def to_csv(
    values: Sequence[JSON],
    path: str | os.PathLike[str],
    *,
    safe: bool = True,
    schema: object = None,
    columns: Sequence[str] | None = None,
    meta: Mapping[str, Sequence[Any]] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> Path:
    """Write a CSV file of a header and one row a record, with the columns of `to_pandas`.

    Nested objects are dotted columns, arrays JSON text, booleans `true` and `false`, instants RFC 3339 in UTC, numbers
    with every digit. A missing key and null are an empty cell, empty text is `""`. The file appears complete or not at
    all, replaces what was there, and is readable by its owner only. Half of a surrogate pair is written as its escape.

    Args:
        values: the records' values.
        path: where to.
        safe: put an apostrophe before text, of cells and of the header, that a spreadsheet would run as a formula
            (it begins with = + - @, a tab or a line break). Numbers are left as they are. With False the text is exact.
        schema: JSON Schema as Python holds it, for types and column order.
        columns: these columns only, in this order.
        meta: further columns by name, one item a record, put last.
        attrs: taken so that all writers are called alike; CSV has no place for them.

    Returns:
        The path written.

    Raises:
        MissingExtra: pyarrow is not installed and there are instants.
        OSError: the directory is missing or cannot be written; nothing was replaced.
        TypeError: `columns` is not a sequence of str.
        ValueError: a name in `columns` is no path or stands there twice, or `meta` has another length.
    """
    del attrs
    try:
        laid = assemble(values, schema=schema, columns=columns, meta=meta)
    except ImportError:
        raise MissingExtra("CSV files with times", "data") from None
    with written(path) as file:
        header = ",".join(_field(_inert(column.name) if safe else column.name) for column in laid.columns)
        cells = [_cells(column, safe=safe) for column in laid.columns]
        rows = map(",".join, zip(*cells, strict=True)) if cells else ("" for _ in range(laid.rows))
        for page in _pages(chain([header], rows)):
            file.write(page.encode(errors="backslashreplace"))
    return Path(path)


def _pages(lines: Iterable[str]) -> Iterator[str]:
    page: list[str] = []
    for line in lines:
        page.append(line)
        if len(page) == _PAGE:
            yield "\r\n".join([*page, ""])
            page = []
    if page:
        yield "\r\n".join([*page, ""])


def _cells(column: Column, *, safe: bool) -> Iterator[str]:
    cells = column.cells
    if column.type is Scalar.TIMESTAMP:
        from matrixdata.frames.arrow_cells import cells as arrow_cells  # noqa: PLC0415  pyarrow is there then

        cells = arrow_cells(cells, column.name)
    return (_cell(cell, safe=safe) for cell in cells)


def _cell(cell: object, *, safe: bool) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return _field(_inert(cell) if safe else cell)
    if isinstance(cell, (bool, list, dict)):
        return _field(json.dumps(cell, ensure_ascii=False, separators=(",", ":")))
    return repr(cell)


def _inert(text: str) -> str:
    return "'" + text if _FORMULA.match(text) else text


def _field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text
