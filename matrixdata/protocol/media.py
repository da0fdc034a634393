"""The media repository (client-server API, "Content repository"): files go there and come back as they are."""

from __future__ import annotations

import re

from matrixdata.protocol.requests import Request, path

_MXC = re.compile(r"mxc://([A-Za-z0-9.:\[\]-]{1,255})/([A-Za-z0-9_-]{1,255})")
_MEDIA = "/_matrix/media/v3"
_CLIENT_MEDIA = "/_matrix/client/v1/media"


def upload(data: bytes) -> Request:
    """POST /media/v3/upload. Sent twice, there are two files; the answer names one of them in `content_uri`."""
    return Request("POST", path("upload", prefix=_MEDIA), data, file=True, timeout=60.0)


def download(uri: str) -> Request | None:
    """GET /media/download/{server}/{id}; None where the text is no mxc:// URI (RFC 3986 aside: spec "mxc URIs")."""
    found = _MXC.fullmatch(uri)
    if found is None:
        return None
    return Request("GET", path("download", *found.groups(), prefix=_CLIENT_MEDIA), file=True, timeout=60.0)
