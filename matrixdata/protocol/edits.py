"""Edits of records, as their content states them (client-server API, "Event replacements"). Pure."""

from __future__ import annotations

from matrixdata.model.problem import Problem, shown
from matrixdata.protocol.numbers import WireError


def edited_event(content: object) -> str | None:
    """The event that a content says it replaces; None when it is no edit.

    Raises:
        WireError: it is one, and does not say of what.
    """
    relation = content.get("m.relates_to") if isinstance(content, dict) else None
    if not isinstance(relation, dict) or relation.get("rel_type") != "m.replace":
        return None
    event_id = relation.get("event_id")
    if not isinstance(event_id, str) or not event_id:
        raise WireError(
            [Problem("/m.relates_to/event_id", "edit", "it does not say what it edits", shown(event_id))]
        )
    return event_id


def new_content(content: object) -> object:
    """The record that an edit makes of the one it replaces; None where it says none."""
    return content.get("m.new_content") if isinstance(content, dict) else None
