"""pytest fixtures for users' own tests, on a real embedded homeserver.

Put `pytest_plugins = ["matrixdata.testing"]` into conftest.py. Needs pytest and the extra `server`.
"""

from matrixdata.testing.fixtures import matrixdata_client, matrixdata_server, matrixdata_user

__all__ = ["matrixdata_client", "matrixdata_server", "matrixdata_user"]
