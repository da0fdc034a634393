"""Engines on the real Synapse, over the plain HTTP of RawUser: what the exchange of tests/encryption stands in for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from matrixdata.encryption.port import SyncChanges, ToDevice
from tests.encryption.exchange import Clock, Peer, Refused
from tests.servers import RawUser, encoded

if TYPE_CHECKING:
    from matrixdata.encryption.port import Outgoing
    from matrixdata.encryption.transaction import Me
    from tests.servers import TestServer

_PATHS = {
    "upload": "keys/upload",
    "query": "keys/query",
    "claim": "keys/claim",
    "signatures": "keys/signatures/upload",
}
_NO_ROOMS = json.dumps({"room": {"rooms": []}, "presence": {"types": []}})


class Homeserver:
    """Takes an Exchange's place: carries requests of one user's device to Synapse."""

    def __init__(self, user: RawUser) -> None:
        self.user = user

    def answer(self, _me: Me, request: Outgoing) -> dict[str, Any]:
        method, path = "POST", _PATHS.get(request.kind, "")
        if request.kind == "to_device":
            method, path = "PUT", encoded("sendToDevice", request.event_type, request.id)
        answer = self.user.http.request(method, f"/_matrix/client/v3/{path}", content=request.body)
        if answer.status_code == 400:
            raise Refused(answer.text)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def sync(self, _user_id: str, _device_id: str, since: str | None, **_options: Any) -> SyncChanges:
        query = {"timeout": 0, "filter": _NO_ROOMS} | ({"since": since} if since else {})
        answer = self.user.call("GET", "sync", **query)
        lists = answer.get("device_lists", {})
        return SyncChanges(
            to_device=tuple(
                ToDevice(it["type"], it["sender"], it["content"])
                for it in answer.get("to_device", {}).get("events", [])
            ),
            changed=tuple(lists.get("changed", ())),
            left=tuple(lists.get("left", ())),
            one_time_keys=answer.get("device_one_time_keys_count"),
            fallback_unused=tuple(answer["device_unused_fallback_key_types"])
            if "device_unused_fallback_key_types" in answer
            else None,
            token=answer["next_batch"],
        )


def device(server: TestServer, name: str, *, path: str = ":memory:", user: RawUser | None = None) -> Peer:
    """A device of that user whose keys are on the server."""
    raw = user or server.raw(name)
    peer = Peer(Homeserver(raw), raw.user_id, raw.device_id, Clock(), path)  # type: ignore[arg-type]  # has its verbs
    peer.flush()
    return peer
