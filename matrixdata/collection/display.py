"""How collections and queries show themselves. Pure: made of what is known here already, never asks or reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matrixdata.model import html
from matrixdata.model.problem import shown

if TYPE_CHECKING:
    from matrixdata.model import JSON, Completeness, JSONObject

Asked = Sequence[tuple[str, str]]
"""The arguments that a query was given, each as a name and a short, inert text."""

_SHOWN = 30


def asked(**given: object) -> tuple[tuple[str, str], ...]:
    """The arguments that are not None, as `Asked`."""
    return tuple((name, shown(value, 200)) for name, value in given.items() if value is not None)


def query_text(name: str, given: Asked, found: Completeness | None) -> str:
    """A query in one line."""
    arguments = "".join(f" {key}={value}" for key, value in given)
    last = f"; last result: {found}" if found else "; not run yet"
    return f"<Query of {name!r}{arguments}{last}>"


def query_html(name: str, given: Asked, found: Completeness | None) -> str:
    """A query as HTML, with what its last result lacked."""
    return html.panel(
        f"Query of {name}",
        html.facts([*given] or [("records", "all")]),
        **_lacks(found, "not run yet; ask for .to_pandas(), .values(), .count() or iterate"),
    )


def sql_text(names: Sequence[str], rows: int | None, found: Completeness | None) -> str:
    """A query in SQL in one line."""
    last = "not run yet" if rows is None else f"last result: {_rows(rows)}, {found or 'complete'}"
    return f"<Sql over {', '.join(map(repr, names)) or 'nothing'}; {last}>"


def sql_html(
    statement: str,
    names: Sequence[str],
    columns: Sequence[tuple[str, str]],
    rows: int | None,
    found: Completeness | None,
) -> str:
    """A query in SQL as HTML: the statement, and the columns of its last result with what that lacked."""
    read = ", ".join(names) or "no collection"
    given = [("statement", " ".join(statement.split())), ("reads", read)]
    if rows is not None:
        given.append(("last result", f"{_rows(rows)} of {len(columns)} column{'s' * (len(columns) != 1)}"))
    return html.panel(
        "SQL over collections",
        html.facts(given),
        *([html.table(("column", "type"), columns[:_SHOWN])] if columns else []),
        *([html.panel(f"… and {len(columns) - _SHOWN:,} more columns")] if len(columns) > _SHOWN else []),
        **_lacks(
            found if rows is not None else None, "not run yet; ask for .to_pandas(), .records() or iterate"
        ),
    )


def _rows(rows: int) -> str:
    return f"{rows:,} row{'s' * (rows != 1)}"


def collection_html(
    *, name: str, room_id: str, encrypted: bool, schema: JSONObject | bool | None, found: Completeness | None
) -> str:
    """A collection as HTML: what it is, its fields, and what its last query lacked."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    fields = list(properties.items()) if isinstance(properties, dict) else []
    title = schema.get("title") if isinstance(schema, dict) else None
    shown_schema = title if isinstance(title, str) else "none" if schema is None else "yes"
    return html.panel(
        f"Collection {name}",
        html.facts(
            [("room", room_id), ("encrypted", "yes" if encrypted else "no"), ("schema", shown_schema)]
        ),
        *([html.table(("field", "type", "required"), _fields(fields[:_SHOWN], schema))] if fields else []),
        *([html.panel(f"… and {len(fields) - _SHOWN:,} more fields")] if len(fields) > _SHOWN else []),
        **_lacks(found, "not queried yet in this session"),
    )


def _fields(fields: Sequence[tuple[str, JSON]], schema: object) -> list[tuple[str, str, str]]:
    required = schema.get("required") if isinstance(schema, Mapping) else None
    needed = required if isinstance(required, list) else []
    return [(name, _type(spec), "yes" if name in needed else "") for name, spec in fields]


def _type(spec: JSON) -> str:
    if not isinstance(spec, dict):
        return "any"
    kind, form = spec.get("type", "any"), spec.get("format")
    text = " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)
    return f"{text} ({form})" if isinstance(form, str) else text


def _lacks(found: Completeness | None, unasked: str) -> dict[str, str]:
    if found is None:
        return {"note": unasked}
    if not found.complete:
        return {"warning": f"The last result was incomplete: {found}"}
    return {
        "note": "Last result: complete" if str(found) == "complete" else f"Last result: complete; {found}"
    }
