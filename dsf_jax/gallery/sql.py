"""Conditions in SQL, as the store takes them."""

from collections.abc import Sequence


def sql_in(column: str, values: Sequence[str]) -> str:
    """Formats the SQL condition that a column has one of some values.

    >>> sql_in("path", ["a.png", "it's b.png"])
    "path IN ('a.png', 'it''s b.png')"
    """
    return f"{column} IN ({', '.join(map(sql_string, values))})"


def sql_string(value: str) -> str:
    """Formats a text as an SQL string."""
    return "'" + value.replace("'", "''") + "'"
