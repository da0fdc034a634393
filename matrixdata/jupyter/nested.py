"""The opt-in for `asyncio.run(...)` in a cell. Only its caller asks for it: the library needs no nested loop."""

from __future__ import annotations

from matrixdata.errors import MissingExtra


def allow_nested_loops() -> None:
    """Let `asyncio.run()` work inside a loop that already runs, as in a notebook's cell.

    Not needed for matrixdata: its blocking face works in any cell, and cells may `await` the async one. It is
    for code that you did not write and that calls `asyncio.run()`. It changes asyncio for the whole process
    (nest-asyncio), and cannot be undone.

    Raises:
        MissingExtra: nest-asyncio is not installed (extra: notebook).
    """
    try:
        import nest_asyncio  # noqa: PLC0415  an optional package, imported only by those who opt in
    except ImportError as error:
        raise MissingExtra("nested event loops", "notebook") from error
    nest_asyncio.apply()
