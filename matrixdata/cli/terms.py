"""Filters as they are typed in a shell: `temp>20`, or the JSON mapping that `query(where=…)` takes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from matrixdata.errors import RecordInvalid
from matrixdata.protocol.strict import loads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matrixdata.model import JSON

_TERM = re.compile(r"\s*(?P<path>[^=!<>]+?)\s*(?P<op>>=|<=|!=|==|=|>|<)\s*(?P<value>.*?)\s*", re.DOTALL)


def where_of(terms: Sequence[str]) -> dict[str | tuple[str, ...], object] | None:
    """The filter that all of `terms` make together; None for no terms.

    Raises:
        ValueError: a term that is neither; the message shows both forms.
    """
    if not terms:
        return None
    parts = [_parsed(term) for term in terms]
    return parts[0] if len(parts) == 1 else {"$and": parts}


def _parsed(term: str) -> dict[str | tuple[str, ...], object]:
    if term.lstrip().startswith("{"):
        try:
            mapping = loads(term)
        except RecordInvalid as error:
            raise ValueError(f"{term!r} is no JSON: " + "; ".join(map(str, error.problems))) from None
        return dict(mapping.items()) if isinstance(mapping, dict) else {}
    match = _TERM.fullmatch(term)
    if match is None:
        raise ValueError(
            f"{term!r} is no filter; write device=d1 or 'temp>20' (with quotes, as > means something to the "
            'shell), or JSON such as \'{"temp": {">": 20}}\''
        )
    return {match["path"]: {match["op"].replace("==", "="): _literal(match["value"])}}


def _literal(text: str) -> JSON:
    """Numbers, true, false, null and quoted text as JSON has them; all else is text as it stands."""
    try:
        value = loads(text)
    except RecordInvalid:
        return text
    return text if isinstance(value, (dict, list)) else value
