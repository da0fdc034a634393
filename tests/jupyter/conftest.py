"""The tests in notebooks share one homeserver, and mostly one kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.requirements import require
from tests.servers import server, server_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.jupyter.kernels import Kernel

__all__ = ["server", "server_address"]


@pytest.fixture(scope="module")
def shared_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel for the tests of a module."""
    require("kernel")
    from tests.jupyter.kernels import kernel

    with kernel(tmp_path_factory.mktemp("kernel") / "home") as it:
        yield it
