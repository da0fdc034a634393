"""Filters as they are typed in a shell: `temp>20`, the JSON mapping that `query(where=…)` takes, or SQL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from matrixdata.errors import RecordInvalid
from matrixdata.protocol.strict import loads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matrixdata.model import JSON

Mapping = dict[str | tuple[str, ...], object]

# A path of names, and one value: in quotes, or bare and then without spaces, quotes and parentheses. What could be a
# calculation or more than one condition is left to SQL.
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_TERM = re.compile(
    rf"\s*(?P<path>(?:[^\W\d][\w$:@-]*|{_QUOTED})(?:\.(?:[\w$:@-]+|{_QUOTED}))*)"
    r"\s*(?P<op>>=|<=|!=|==|=|>|<)\s*"
    rf"(?P<value>{_QUOTED}|'(?:[^']|'')*'|[^\s\"'()]*)\s*"
)
_SQL = "SQL, which --where takes too, stands alone: write all of it in SQL, joined with AND"


def where_of(terms: Sequence[str]) -> Mapping | str | None:
    """The filter that all of `terms` make together: a mapping, an SQL expression, or None for no terms.

    Raises:
        ValueError: a term is none of the three, or SQL stands beside another form; the message shows them.
    """
    if not terms:
        return None
    parts = [_parsed(term) for term in terms]
    expressions = [part for part in parts if isinstance(part, str)]
    if not expressions:
        return parts[0] if len(parts) == 1 else {"$and": parts}
    if len(expressions) < len(parts):
        raise ValueError(f"{expressions[0]!r} is neither like temp>20 nor JSON; {_SQL}")
    # The line end: an expression may close with a comment.
    return parts[0] if len(parts) == 1 else " AND ".join(f"({expression}\n)" for expression in expressions)


def _parsed(term: str) -> Mapping | str:
    if term.lstrip().startswith("{"):
        try:
            mapping = loads(term)
        except RecordInvalid as error:
            raise ValueError(f"{term!r} is no JSON: " + "; ".join(map(str, error.problems))) from None
        return dict(mapping.items()) if isinstance(mapping, dict) else {}
    match = _TERM.fullmatch(term)
    if match is not None and (match["value"] or match["op"] in {"=", "==", "!="}):
        return {match["path"]: {match["op"].replace("==", "="): _literal(match["value"])}}
    if not term.strip() or term.lstrip()[0] in "=<>!":
        raise ValueError(
            f"{term!r} is no filter; write device=d1 or 'temp>20' (with quotes, as > means something to the "
            "shell), JSON such as '{\"temp\": {\">\": 20}}', or SQL such as 'temp > 20 AND humid < 40'"
        )
    return term


def _literal(text: str) -> JSON:
    """Numbers, true, false, null and quoted text as JSON has them, 'text' as SQL has it; else text as it stands."""
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    try:
        value = loads(text)
    except RecordInvalid:
        return text
    return text if isinstance(value, (dict, list)) else value
