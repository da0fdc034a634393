"""Builders for identity, recovery and backup (client-server API v1.15). Pure: nothing here sends anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from matrixdata.model.hidden import HiddenBytes
from matrixdata.protocol.requests import Request, path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matrixdata.model.json import JSON, JSONObject


def password_auth(user_id: str, password: str, session: str) -> JSONObject:
    """The answer to a server that asks for the password once more (spec "User-Interactive Authentication API")."""
    auth: JSONObject = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user_id},
        "password": password,
    }
    return {**auth, "session": session} if session else auth


def upload_identity(keys: Mapping[str, JSON], auth: JSONObject | None = None) -> Request:
    """POST /keys/device_signing/upload. The same keys again are harmless, other ones need the password."""
    where = path("keys", "device_signing", "upload")
    return Request("POST", where, _body(keys, auth), secret=auth is not None)


def delete_device(device_id: str, auth: JSONObject | None = None) -> Request:
    """DELETE /devices/{id}: its session, keys and access end. It needs the password."""
    return Request("DELETE", path("devices", device_id), _body({}, auth), secret=auth is not None)


def account_data(user_id: str, event_type: str) -> Request:
    """GET the account's own note of that type; 404 M_NOT_FOUND where there is none."""
    return Request("GET", path("user", user_id, "account_data", event_type))


def set_account_data(user_id: str, event_type: str, content: Mapping[str, JSON]) -> Request:
    """PUT the account's own note of that type."""
    return Request("PUT", path("user", user_id, "account_data", event_type), msgspec.json.encode(content))


def backup_version() -> Request:
    """GET /room_keys/version: the current backup; 404 M_NOT_FOUND where there is none."""
    return Request("GET", path("room_keys", "version"))


def create_backup(body: Mapping[str, JSON]) -> Request:
    """POST /room_keys/version. Sent twice it makes two, of which the later counts; both have the same key."""
    return Request("POST", path("room_keys", "version"), msgspec.json.encode(body))


def backed_up_keys(version: str) -> Request:
    """GET /room_keys/keys: every session of a backup."""
    return Request("GET", path("room_keys", "keys", query={"version": version}), timeout=120)


def back_up(version: str, body: Mapping[str, JSON]) -> Request:
    """PUT /room_keys/keys: add sessions. The server keeps the better one of two, so it may be sent twice."""
    where = path("room_keys", "keys", query={"version": version})
    return Request("PUT", where, msgspec.json.encode(body), timeout=60)


def _body(fields: Mapping[str, JSON], auth: JSONObject | None) -> bytes:
    if auth is None:
        return msgspec.json.encode(fields)
    # Not msgspec, which takes no kind of text but plain str.
    return HiddenBytes(json.dumps({**fields, "auth": auth}).encode())
