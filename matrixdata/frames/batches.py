"""Record values as Arrow record batches, for readers that take a part at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matrixdata.frames.arrow_table import to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

    from matrixdata.model.json import JSON

ROWS = 65_536
"""Rows of a batch."""


def batches(
    values: Sequence[JSON],
    size: int = ROWS,
    *,
    schema: object = None,
    columns: Sequence[str] | None = None,
    meta: Mapping[str, Sequence[Any]] | None = None,
    attrs: Mapping[str, Any] | None = None,
    structs: bool = False,
) -> Iterator[pa.RecordBatch]:
    """The table of `to_arrow` in batches of at most `size` rows, all of one schema; none where there is no row.

    Raises:
        MissingExtra: pyarrow is not installed.
        TypeError: `columns` is not a sequence of str.
        ValueError: `size` is below 1, a name in `columns` is no path or stands there twice, or `meta` has another
            length.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"size={size!r}; it takes a number of rows, at least 1")
    table = to_arrow(values, schema=schema, columns=columns, meta=meta, attrs=attrs, structs=structs)
    # Columns are made in one piece; only then do all batches have the size that was asked for.
    return iter([batch for batch in table.combine_chunks().to_batches(max_chunksize=size) if batch.num_rows])
