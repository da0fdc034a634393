"""All tests of the flows share one homeserver."""

from tests.servers import pair, server, server_address

__all__ = ["pair", "server", "server_address"]
