"""The leanest honest peer: httpx and the standard json module, no validation, no storage."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from matrixdata import homeserver

if TYPE_CHECKING:
    from collections.abc import Iterator


class Raw:
    """One user of an embedded server, over plain HTTP."""

    def __init__(self, address: homeserver.ServerAddress, localpart: str) -> None:
        password = homeserver.register(address, localpart)
        self.http = httpx.Client(base_url=address.url, timeout=60, trust_env=False)
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": localpart},
            "password": password,
        }
        answer = self.http.post("/_matrix/client/v3/login", json=body).raise_for_status().json()
        self.user_id = answer["user_id"]
        self.http.headers["Authorization"] = f"Bearer {answer['access_token']}"
        self._txn = 0

    def join(self, room_id: str) -> None:
        self.http.post(f"/_matrix/client/v3/join/{quote(room_id)}", json={}).raise_for_status()

    def send(self, room_id: str, event_type: str, content: dict[str, object]) -> str:
        self._txn += 1
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/send/{event_type}/t{time.time_ns()}-{self._txn}"
        return str(self.http.put(path, json=content).raise_for_status().json()["event_id"])

    def pages(self, room_id: str) -> Iterator[list[dict[str, Any]]]:
        """Every event, newest first, a thousand at a time."""
        token = None
        while True:
            query = {"dir": "b", "limit": 1000} | ({"from": token} if token else {})
            path = f"/_matrix/client/v3/rooms/{quote(room_id)}/messages"
            page = json.loads(self.http.get(path, params=query).raise_for_status().content)
            yield page["chunk"]
            token = page.get("end")
            if token is None or any(event["type"] == "m.room.create" for event in page["chunk"]):
                return

    def history(self, room_id: str) -> int:
        """Page through everything and parse it; the number of events."""
        return sum(len(page) for page in self.pages(room_id))


def address_of(directory: Path) -> homeserver.ServerAddress:
    return homeserver.start(directory)
