"""AsyncClient: one account on one homeserver."""

from matrixdata.client.composition import Environment
from matrixdata.client.core import AsyncClient, Leaving

__all__ = ["AsyncClient", "Environment", "Leaving"]
