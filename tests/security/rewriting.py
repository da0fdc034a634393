"""Rewriting a real server's answers on their way to a client: events replaced by any bytes, state by any content."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers import Seen


LISTS = {"timeline", "required_state", "chunk", "state", "events"}


def carries_events(seen: Seen) -> bool:
    return seen.is_sync or "/messages" in seen.path or seen.path.endswith("/state")


def events_in(answer: Any) -> list[list[Any]]:
    """Every list of events in a sync response, a page of history or a room's state."""
    found = []
    if isinstance(answer, list):
        found.append(answer)
    elif isinstance(answer, dict):
        for key, member in answer.items():
            if isinstance(member, dict):
                found += events_in(member)
            elif isinstance(member, list) and key in LISTS:
                found.append(member)
    return found


def replacing(
    chosen: Callable[[dict[str, Any]], bytes | None],
) -> Callable[[Seen], Callable[[bytes], bytes] | None]:
    """A fault for the proxy: each event for which `chosen` gives bytes is replaced by exactly those."""

    def edit(content: bytes) -> bytes:
        answer = json.loads(content)
        texts: dict[bytes, bytes] = {}
        for events in events_in(answer):
            for index, event in enumerate(events):
                raw = chosen(event)
                if raw is not None:
                    mark = f"@replaced-{len(texts)}@"
                    texts[json.dumps(mark).encode()] = raw
                    events[index] = mark
        edited = json.dumps(answer).encode()
        for mark_text, raw in texts.items():
            edited = edited.replace(mark_text, raw)
        return edited

    return lambda seen: edit if carries_events(seen) else None
