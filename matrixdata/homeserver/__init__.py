"""The embedded homeserver: a private Synapse on loopback, as a process of its own.

Blocking functions; callers choose the directory. Synapse (AGPL) is never imported, only run.
"""

from matrixdata.homeserver.accounts import recovery_key, register
from matrixdata.homeserver.environment import available, find_python, install
from matrixdata.homeserver.server import ServerAddress, ServerStatus, start, status, stop
from matrixdata.homeserver.settings import Limits

__all__ = [
    "Limits",
    "ServerAddress",
    "ServerStatus",
    "available",
    "find_python",
    "install",
    "recovery_key",
    "register",
    "start",
    "status",
    "stop",
]
