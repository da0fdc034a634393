"""`md.validate`: what `publish` would say of records, without a server, a network or a client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from matrixdata.errors import RecordInvalid
from matrixdata.protocol.convert import to_json
from matrixdata.validation import CompiledSchema, Rejected, ValidationReport, compile_schema

if TYPE_CHECKING:
    from matrixdata.model import JSON, Problem


def validate(records: object, schema: Mapping[str, object] | bool | str | CompiledSchema) -> ValidationReport:
    """Check records against a schema, as publishing them would. Needs no server and no network.

    Args:
        records: an iterable of dicts, or a pandas or polars DataFrame or an Arrow table, whose missing cells
            count as absent keys and whose times become RFC 3339 text.
        schema: JSON Schema draft 2020-12 as in docs/schema-profile.md: a dict, JSON text, or compiled.

    Returns:
        A report with every problem of every invalid record; true in a condition when there is none.

    Raises:
        SchemaError: the schema itself is outside the profile.
        TypeError: `records` is a single record.
    """
    if isinstance(schema, CompiledSchema):
        compiled = schema
    else:
        compiled = compile_schema(cast("Mapping[str, JSON] | bool | str", schema))
    checked, rejected = 0, []
    for row, record in enumerate(_rows(records)):
        checked += 1
        problems = _problems(record, compiled)
        if problems:
            rejected.append(Rejected(row, problems))
    return ValidationReport(checked, tuple(rejected))


def _rows(records: object) -> Iterable[object]:
    if isinstance(records, (Mapping, str, bytes)) or not isinstance(records, Iterable):
        raise TypeError("validate() takes several records: put the one in a list, [record]")
    if hasattr(records, "__arrow_c_stream__") or hasattr(records, "columns"):
        from matrixdata.frames import rows_of  # noqa: PLC0415  only frames need it

        return rows_of(records)
    return records


def _problems(record: object, schema: CompiledSchema) -> tuple[Problem, ...]:
    try:
        value = to_json(record)
    except RecordInvalid as error:
        return error.problems
    return () if schema.is_valid(value) else tuple(schema.problems(value))
