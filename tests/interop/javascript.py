"""Reads record contents with the decoder in JavaScript, which knows nothing but docs/wire-format.md."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

DECODER = Path(__file__).with_name("decoder.mjs")


def read_with_javascript(contents: Iterable[Any]) -> list[dict[str, Any]]:
    """What another implementation makes of event contents.

    Args:
        contents: `content` of `io.matrixdata.record` events, for example those of a room's /messages; or
            their JSON text, for what Python would write differently; or lists of events, as in vectors/edit.json.

    Returns:
        For each content in order either {"uid", "schema", "value"}, numbers exact, or {"invalid": rule}; for a
        list {"value", "edit", "invalid"}.
    """
    lines = [content if isinstance(content, str) else json.dumps(content) for content in contents]
    done = subprocess.run(
        ["node", DECODER],
        input="\n".join(lines),
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=60,
    )
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(answers) == len(lines), done.stderr
    return answers
