"""One HTML page of pictures and numbers that needs nothing besides itself: no script, no style sheet,
no picture file, no network.
"""

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dsf_jax.evaluation.statistics import NO_INTERVAL

Values = Mapping[str, Any]

STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --paper: #ffffff; --quiet: #5b6670; --line: #d5dade; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8eb; --paper: #15191d; --quiet: #9aa5ae; --line: #39424a; }
}
body { margin: 0 auto; max-width: 75rem; padding: 1.5rem 1rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { margin-top: 3rem; font-size: 1.25rem; }
p, dl { max-width: 50rem; } nav a { margin-right: 1rem; } a { color: inherit; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; font-size: .9rem; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
img { display: block; max-width: 100%; height: auto; margin: 1rem 0; padding: .5rem;
  box-sizing: border-box; border: 1px solid var(--line); border-radius: 4px; background: #ffffff; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); text-align: left;
  white-space: nowrap; }
th { color: var(--quiet); font-weight: 600; }
"""


class Section(NamedTuple):
    """One picture of the page.

    Attributes:
      title: title of the section.
      text: what the picture shows, a paragraph.
      picture: PNG.
      facts: {name: value}, what was measured over all.
      rows: rows of a table, {column: value} each; the columns are those of the first, of which others may
        lack some.
    """

    title: str
    text: str
    picture: bytes
    facts: Values
    rows: Sequence[Values]


def format_value(value: Any) -> str:
    """Formats a value for a table: numbers to four digits, a mean with its interval, lists with commas."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping) and set(value) == {"mean", "low", "high"}:
        mean, low, high = (format_value(value[name]) for name in ("mean", "low", "high"))
        if value["low"] == value["high"]:
            return f"{mean} ({NO_INTERVAL})"
        return f"{mean} [{low}, {high}]"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {format_value(own)}" for name, own in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(format_value, value)) or "–"
    return str(value)


def html_report(title: str, facts: Values, sections: Sequence[Section]) -> str:
    """Writes the page.

    Args:
      title: title of the page.
      facts: {name: value}, what all of it was made from.
      sections: sections in order.

    Returns:
      HTML. Whatever the texts hold stands in it as text; the pictures are in it, as data.
    """
    links = "".join(
        f'<a href="#part{i}">{html.escape(section.title)}</a>' for i, section in enumerate(sections)
    )
    parts = "".join(_section(i, section) for i, section in enumerate(sections))
    name = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{name}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n{_list(facts)}"
        f"<nav>{links}</nav>\n{parts}</body>\n</html>\n"
    )


def _section(number: int, section: Section) -> str:
    data = base64.b64encode(section.picture).decode()
    return (
        f'<section id="part{number}">\n<h2>{html.escape(section.title)}</h2>\n'
        f"<p>{html.escape(section.text)}</p>\n"
        f'<img alt="{html.escape(section.title)}" src="data:image/png;base64,{data}">\n'
        f"{_list(section.facts)}{_table(section.rows)}</section>\n"
    )


def _list(facts: Values) -> str:
    entries = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(format_value(value))}</dd>\n"
        for name, value in facts.items()
    )
    return f"<dl>\n{entries}</dl>\n" if entries else ""


def _table(rows: Sequence[Values]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>"
        + "".join(f"<td>{html.escape(format_value(row.get(name)))}</td>" for name in rows[0])
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>\n"
    )
