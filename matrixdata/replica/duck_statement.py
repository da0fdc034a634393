"""What a piece of SQL is, by DuckDB's own parser: exactly one SELECT, or exactly one boolean expression.

The sandbox of `replica.duck` already keeps SQL from files and the network; here it is refused with a reason, and
what the sandbox does not cover (table functions that take memory addresses) as well. Must not run any SQL of a user.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from matrixdata.errors import SqlError
from matrixdata.model.problem import safe_text, shown

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TABLE_FUNCTIONS = frozenset(
    {"generate_series", "generate_subscripts", "json_each", "json_tree", "range", "regexp_split_to_table", "repeat",
     "repeat_row", "unnest"}
)  # fmt: skip
"""Functions that may stand after FROM. Everything else there reads files, settings or memory."""
MAX_SQL = 100_000
"""Characters of SQL at most."""
_WHERE = "SELECT 1 FROM records WHERE "
_CATALOGS = (
    'only collections can be read, by the name you gave them; a name with a dot stands in quotes: "a.b"'
)


def checked_select(parser: DuckDBPyConnection, sql: str) -> tuple[str, ...]:
    """Check one SELECT statement; the names of the tables it reads, spelt as it spells them, sorted.

    Names of its own (WITH) are not among them.

    Raises:
        TypeError: it is no text.
        SqlError: it is no single SELECT, does not parse, calls a table function that is not allowed, or names
            tables of which two differ only in case (DuckDB could not tell them apart).
    """
    _check_text(sql, "SQL")
    _one_select(parser, sql)
    tree = _parsed(parser, sql)
    nodes = list(_nodes(tree))
    _check_functions(nodes)
    spelt = {str(node["table_name"]) for node in nodes if node.get("type") == "BASE_TABLE"}
    for node in nodes:
        if node.get("type") == "BASE_TABLE" and (node.get("schema_name") or node.get("catalog_name")):
            raise SqlError(f"{shown(node['table_name'])} stands in a schema; {_CATALOGS}")
    _check_case(spelt | {name for node in nodes for name, _ in _given(node)})
    # Not parser.get_table_names(): it binds columns too, and fails on tables that it cannot know here.
    return tuple(sorted(set(_read(tree, frozenset()))))


def checked_expression(parser: DuckDBPyConnection, where: str) -> str:
    """Check that this is one SQL expression such as can stand after WHERE, and give it back.

    Raises:
        TypeError: it is no text.
        SqlError: it does not parse, is more than an expression (ORDER BY, a second statement), or has a
            subquery or a placeholder.
    """
    _check_text(where, "an SQL filter")
    tree = _parsed(parser, f"{_WHERE}{where}\n")
    nodes = list(_nodes(tree))
    plain = _parsed(parser, f"{_WHERE}true")
    if _without_where(tree) != _without_where(plain):
        raise SqlError(
            f"where={shown(where)}: one expression, such as temp > 20 AND device = 'd1'; for ORDER BY, LIMIT, "
            "UNION or GROUP BY use client.sql(...)"
        )
    for node in nodes:
        if node.get("class") == "SUBQUERY":
            raise SqlError(f"where={shown(where)}: subqueries can be asked with client.sql(...)")
        if node.get("class") == "PARAMETER":
            raise SqlError(f"where={shown(where)}: placeholders cannot be filled in here; write the value")
    return where


@contextmanager
def mapped_errors(note: str = "") -> Iterator[None]:
    """DuckDB's errors as ours: their first lines, in printable characters, with advice where there is some.

    Args:
        note: what to add when a name was not found.
    """
    import duckdb  # noqa: PLC0415  optional, and slow to import

    try:
        yield
    except duckdb.Error as error:
        # What follows the empty line repeats our own statement.
        said = " ".join(safe_text(line) for line in str(error).split("\n\n")[0].splitlines())
        said = said[:1000] or "DuckDB refused it"
        raise SqlError(said + (note if "not found" in said else "") + _advice(said)) from None


def _advice(said: str) -> str:
    if "cast" in said or "Conversion Error" in said or "convert" in said:
        return (
            ". A column of mixed types is JSON text: write TRY_CAST(x AS DOUBLE), or x->>'$.key' for a member"
        )
    return ""


def _check_text(sql: object, what: str) -> None:
    if not isinstance(sql, str):
        raise TypeError(f"{what} is text, not {type(sql).__name__}")
    if not sql.strip():
        raise SqlError(f"{what} is empty")
    if len(sql) > MAX_SQL:
        raise SqlError(f"{what} has {len(sql):,} characters; at most {MAX_SQL:,} are taken")
    if "\0" in sql or any("\ud800" <= c <= "\udfff" for c in sql):
        raise SqlError(f"{what} holds NUL or half of a surrogate pair")


def _one_select(parser: DuckDBPyConnection, sql: str) -> None:
    with mapped_errors():
        statements = parser.extract_statements(sql)
    if len(statements) != 1:
        raise SqlError(f"one statement at a time, not {len(statements)}")
    try:
        kind = statements[0].type.name
    except ValueError:  # a kind that DuckDB's own Python package has no name for yet
        kind = "something else"
    if kind != "SELECT":
        raise SqlError(
            f"a query only reads, and this is {kind}: write one SELECT (WITH and UNION are fine); "
            "records are written with publish()"
        )


def _parsed(parser: DuckDBPyConnection, sql: str) -> Any:  # noqa: ANN401  JSON
    with mapped_errors():
        row = parser.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    tree = json.loads(row[0][0])
    if tree.get("error"):
        raise SqlError(f"not understood: {safe_text(str(tree.get('error_message')))}")
    return tree


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  JSON
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _check_functions(nodes: list[dict[str, Any]]) -> None:
    for node in nodes:
        if node.get("type") == "TABLE_FUNCTION":
            name = str((node.get("function") or {}).get("function_name"))
            if name.lower() not in TABLE_FUNCTIONS:
                raise SqlError(
                    f"the function {shown(name)} cannot be read from: a query sees collections, not files, settings "
                    f"or the network. After FROM there may be {', '.join(sorted(TABLE_FUNCTIONS))}"
                )
        if node.get("class") == "PARAMETER":
            raise SqlError("placeholders cannot be filled in here; write the value")


def _given(node: dict[str, Any]) -> list[tuple[str, Any]]:
    """The names that a WITH gives, each with what it stands for."""
    entries = (node.get("cte_map") or {}).get("map", ())
    return [(str(entry["key"]), entry.get("value")) for entry in entries]


def _read(tree: Any, given: frozenset[str]) -> Iterator[str]:  # noqa: ANN401  JSON
    """The tables that a query reads, where `given` are the names of WITH around it."""
    if isinstance(tree, list):
        for item in tree:
            yield from _read(item, given)
    elif isinstance(tree, dict):
        if tree.get("type") == "BASE_TABLE" and tree["table_name"] not in given:
            yield str(tree["table_name"])
        if tree.get("type") in ("RECURSIVE_CTE_NODE", "CTE_NODE"):  # the name is known inside, too
            given |= {str(tree.get("cte_name") or tree.get("ctename"))}
        for name, meaning in _given(tree):
            yield from _read(meaning, given)
            given |= {name}
        for key, item in tree.items():
            if key != "cte_map":
                yield from _read(item, given)


def _check_case(names: set[str]) -> None:
    folded: dict[str, str] = {}
    for name in sorted(names):
        other = folded.setdefault(fold(name), name)
        if other != name:
            raise SqlError(
                f"{shown(other)} and {shown(name)} differ only in case, which SQL does not tell apart; query "
                "them one at a time, and call what WITH names otherwise"
            )


def fold(name: str) -> str:
    """A name as DuckDB compares it: ASCII letters without case, all others as they are (measured)."""
    return "".join(c.lower() if c.isascii() else c for c in name)


def _without_where(tree: Any) -> Any:  # noqa: ANN401  JSON
    """The tree without its outermost WHERE and without positions in the text."""
    statements = tree["statements"]
    for statement in statements:
        statement["node"].pop("where_clause", None)
    return _unplaced(statements)


def _unplaced(tree: Any) -> Any:  # noqa: ANN401  JSON
    if isinstance(tree, dict):
        return {key: _unplaced(value) for key, value in tree.items() if not key.startswith("query_location")}
    return [_unplaced(item) for item in tree] if isinstance(tree, list) else tree
