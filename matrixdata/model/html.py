"""Small HTML for notebooks: tables and fact lists. Everything from outside is escaped; no links, no scripts."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from matrixdata.model.problem import safe_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STYLE = (
    "<style>.matrixdata{font-size:.92em;margin:.3em 0}.matrixdata table{border-collapse:collapse;margin:.3em 0}"
    ".matrixdata th,.matrixdata td{padding:.15em .7em;text-align:left;vertical-align:top;"
    "border-bottom:1px solid rgba(127,127,127,.25)}.matrixdata th{font-weight:600}"
    # A word without end must not push the page aside; the colour is read on white and on black alike.
    ".matrixdata td{max-width:44em;overflow-wrap:break-word}"
    ".matrixdata .note{opacity:.75}.matrixdata .warn{color:#c26400;font-weight:600}</style>"
)


def cell(value: object, most: int = 120) -> str:
    """Any value as escaped text of at most `most` characters; None is an em dash."""
    if value is None:
        return "—"
    text = value if isinstance(value, str) else str(value)
    text = safe_text(text[: most + 1])
    return escape(text if len(text) <= most else text[: most - 1] + "…")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table; columns and cells are escaped."""
    head = "".join(f"<th>{cell(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{cell(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """A two-column table of names and values."""
    rows = "".join(f"<tr><th>{cell(name)}</th><td>{cell(value)}</td></tr>" for name, value in pairs)
    return f"<table><tbody>{rows}</tbody></table>"


def panel(title: str, *parts: str, note: str = "", warning: str = "") -> str:
    """A titled block of parts that are HTML already; title, note and warning are plain text."""
    lines = [f"<div><b>{cell(title)}</b></div>", *parts]
    if warning:
        lines.append(f'<div class="warn">{cell(warning, 400)}</div>')
    if note:
        lines.append(f'<div class="note">{cell(note, 400)}</div>')
    return f'<div class="matrixdata">{_STYLE}{"".join(lines)}</div>'
