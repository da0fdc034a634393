"""Small HTTP requests to a server on 127.0.0.1, and free ports there.

Uses http.client, which knows no proxies: a proxy of the environment must never see these requests.
"""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

from matrixdata.homeserver.settings import NONCE_KEY

if TYPE_CHECKING:
    from matrixdata.model.json import JSONObject

HOST = "127.0.0.1"
_MOST_BYTES = 1_000_000


def request(
    port: int, method: str, path: str, body: JSONObject | None = None, *, timeout: float = 10.0
) -> tuple[int, JSONObject]:
    """One request: status and JSON object of the answer, {} if it was none.

    Raises:
        OSError: nobody answers on that port, or not in time.
    """
    connection = HTTPConnection(HOST, port, timeout=timeout)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        content = json.loads(response.read(_MOST_BYTES) or b"{}")
        return response.status, content if isinstance(content, dict) else {}
    except (HTTPException, ValueError) as error:
        raise ConnectionError(f"no sensible answer on port {port}: {type(error).__name__}") from error
    finally:
        connection.close()


def answers_as(port: int, nonce: str, *, timeout: float) -> bool:
    """True if the server that was started with this nonce answers on `port` and is ready for clients."""
    try:
        _, content = request(port, "GET", "/.well-known/matrix/client", timeout=timeout)
        if content.get(NONCE_KEY) != nonce:
            return False
        status, _ = request(port, "GET", "/_matrix/client/versions", timeout=timeout)
    except OSError:
        return False
    return status == 200


def free_port(wanted: int | None = None) -> int:
    """A TCP port that was free on 127.0.0.1 a moment ago: `wanted` if that one is."""
    for port in (wanted, 0) if wanted else (0,):
        if found := _bindable(port or 0):
            return found
    raise OSError("no free TCP port on 127.0.0.1")


def is_free(port: int) -> bool:
    """True if `port` can be bound on 127.0.0.1 now."""
    return _bindable(port) is not None


def _bindable(port: int) -> int | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As Synapse binds it: connections of a server that just ended do not stand in the way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return None
        return int(probe.getsockname()[1])
