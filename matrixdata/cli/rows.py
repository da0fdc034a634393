"""Small lists and facts as a command prints them: aligned for people, JSON Lines for programs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from matrixdata.cli.output import say, write, write_json
from matrixdata.cli.settings import current
from matrixdata.cli.table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matrixdata.model import JSONObject


def show_rows(rows: Sequence[JSONObject], columns: Sequence[str], *, none: str) -> None:
    """A table of these columns, or the whole rows as JSON Lines; `none` is what people are told of no rows."""
    if current().as_json:
        for row in rows:
            write_json(row)
    elif rows:
        laid_out = table(rows, columns, width=shutil.get_terminal_size().columns)
        write(laid_out.text)
        if laid_out.left_out:
            say(f"no room for {', '.join(laid_out.left_out)}; --json shows all")
    else:
        say(none)


def show_facts(facts: JSONObject) -> None:
    """One `key  value` a line, those that say nothing left out; or all of them as one JSON object."""
    if current().as_json:
        write_json(facts)
        return
    said = {key: item for key, item in facts.items() if item not in {"", None}}
    width = max(map(len, said), default=0)
    write("\n".join(f"{key.ljust(width)}  {_word(item)}" for key, item in said.items()))


def _word(item: object) -> object:
    return {True: "yes", False: "no"}[item] if isinstance(item, bool) else item
