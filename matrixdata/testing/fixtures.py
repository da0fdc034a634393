"""The fixtures: one homeserver a test session, fresh users for every test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from matrixdata.connect.local import LocalServer

if TYPE_CHECKING:
    from matrixdata.connect import Client

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def matrixdata_server() -> Iterator[LocalServer]:
    """A private homeserver with a temporary directory, started once (about two seconds) and ended at the end.

    Skips the test where no homeserver can be had, saying why.
    """
    from matrixdata import homeserver  # noqa: PLC0415  only those who ask for a server pay for the import

    missing = homeserver.available()
    if missing is not None:
        pytest.skip(missing)
    with LocalServer() as server:
        yield server


@pytest.fixture
def matrixdata_user(matrixdata_server: LocalServer) -> Iterator[Callable[[str], Client]]:
    """A function from a name to an open client of a user that no other test has; closed after the test."""
    made: list[Client] = []

    def connect(name: str = "user") -> Client:
        client = matrixdata_server.connect(f"{name}-{next(_numbers)}")
        made.append(client)
        return client

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def matrixdata_client(matrixdata_user: Callable[[str], Client]) -> Client:
    """An open client of a user that no other test has."""
    return matrixdata_user("user")
