"""Records of a subscription as an Arrow record batch. Imports pyarrow when called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from matrixdata.errors import MissingExtra
from matrixdata.replica.rules import RULE_TYPES, read_rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from matrixdata.model import JSON, Record
    from matrixdata.replica.rooms import Rooms


def need_arrow() -> None:
    """Raise MissingExtra where there is no pyarrow."""
    try:
        import pyarrow as pa  # noqa: F401, PLC0415  optional and slow to import
    except ImportError:
        raise MissingExtra("Arrow record batches", "data") from None


async def schema_of(rooms: Rooms, room_id: str) -> JSON:
    """The schema in force in a room, which decides the columns of a batch; None without one."""
    schema = read_rules(await rooms.state(room_id, RULE_TYPES)).schema
    return None if schema is None else msgspec.json.decode(schema.text)


def record_batch(records: Sequence[Record], schema: JSON, *, meta: bool) -> pa.RecordBatch:
    """One batch of all the records, with the columns of a query's `to_arrow`; see there for `meta`."""
    from matrixdata import frames  # noqa: PLC0415  those who only publish are spared the import

    beside: dict[str, list[Any]] = {
        "event_id": [record.event_id for record in records],
        "sender": [record.sender for record in records],
        "time": [record.time for record in records],
        "row_state": [str(record.row_state) for record in records],
    }
    values = [record.value for record in records]
    (batch,) = frames.batches(values, len(values), schema=schema, meta=beside if meta else None)
    return batch
