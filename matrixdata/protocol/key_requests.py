"""Builders for the endpoints of end-to-end encryption (client-server API v1.15). Pure: nothing here sends anything."""

from __future__ import annotations

from matrixdata.protocol.requests import Request, path


def keys_upload(body: bytes) -> Request:
    """POST /keys/upload: device keys, one-time keys, fallback keys. The same body again is harmless (measured)."""
    return Request("POST", path("keys", "upload"), body)


def keys_query(body: bytes) -> Request:
    """POST /keys/query: the devices and identities of users. The server may ask other servers, and so take long."""
    return Request("POST", path("keys", "query"), body, timeout=60)


def keys_claim(body: bytes) -> Request:
    """POST /keys/claim: one-time keys of devices. A key whose answer is lost is used up; there are more of them."""
    return Request("POST", path("keys", "claim"), body, timeout=60)


def signatures_upload(body: bytes) -> Request:
    """POST /keys/signatures/upload."""
    return Request("POST", path("keys", "signatures", "upload"), body)


def send_to_device(event_type: str, txn_id: str, body: bytes) -> Request:
    """PUT /sendToDevice. The server knows the transaction id for a while only, so receivers may meet it twice."""
    return Request("PUT", path("sendToDevice", event_type, txn_id), body, timeout=60)


def keys_changes(start: str, end: str) -> Request:
    """GET /keys/changes: whose devices changed between two sync tokens."""
    return Request("GET", path("keys", "changes", query={"from": start, "to": end}))


def joined_members(room_id: str) -> Request:
    """GET /rooms/{id}/joined_members."""
    return Request("GET", path("rooms", room_id, "joined_members"), timeout=90)
