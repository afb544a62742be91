"""Tables of results beside printed numbers, as Markdown and CSV.

A cell is the paper's number, ours with its interval, or the reason why there is none; nothing is filled
in.
"""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

from dsf_jax.evaluation.results import ResultRecord
from dsf_jax.evaluation.statistics import Measure


class NotRun(NamedTuple):
    """Why there is no result, and what to do about it."""

    reason: str

    def __str__(self) -> str:
        """Returns what a table shows instead of the result."""
        return f"not run: {self.reason}"


Outcome = ResultRecord | NotRun


class Cell(NamedTuple):
    """One place of a table.

    Attributes:
      paper: the number that the paper prints there, if any.
      ours: our number with its interval, if there is one.
      missing: reason, "not run: why", where `ours` is None; "" where nothing of ours belongs.
    """

    paper: float | None = None
    ours: Measure | None = None
    missing: str = ""


class ResultRow(NamedTuple):
    """A row's name and its cells, in the order of the columns."""

    name: str
    cells: tuple[Cell, ...]


class ResultTable(NamedTuple):
    """A table of results.

    Attributes:
      title: one line.
      columns: names of the columns of cells.
      rows: rows from top to bottom.
      digits: number of digits behind the point.
      notes: notes below the table, one line each.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[ResultRow, ...]
    digits: int
    notes: tuple[str, ...]


def cell(outcome: Outcome, number: str, paper: float | None = None) -> Cell:
    """Makes the cell of one number of a result.

    Args:
      outcome: the result, or why there is none.
      number: the number's name in the record.
      paper: the number that the paper prints there.
    """
    if isinstance(outcome, NotRun):
        return Cell(paper, None, str(outcome))
    if number not in outcome.numbers:
        return Cell(paper, None, f"no value: {number} has none on data of this size")
    return Cell(paper, outcome.numbers[number])


def markdown(table: ResultTable) -> str:
    """Formats a table as Markdown: the paper's number, a slash, ours; reasons stand below by number.

    Args:
      table: any table.

    Returns:
      The text, ending in a line break.
    """
    reasons = list(dict.fromkeys(c.missing for row in table.rows for c in row.cells if c.missing))
    with_paper = any(c.paper is not None for row in table.rows for c in row.cells)
    head = "| | " + " | ".join(table.columns) + " |"
    lines = [f"## {table.title}", "", head, "|---" * (1 + len(table.columns)) + "|"]
    for row in table.rows:
        cells = [_cell_text(c, table.digits, reasons, with_paper) for c in row.cells]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    notes = [*table.notes, *(f"({i}) {reason}." for i, reason in enumerate(reasons, 1))]
    if with_paper:
        notes.insert(0, "Each cell: the paper / ours [low, high].")
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def _cell_text(c: Cell, digits: int, reasons: Sequence[str], with_paper: bool) -> str:
    if c.ours is not None:
        ours = c.ours.text(digits)
    else:
        what = c.missing.partition(":")[0]
        ours = f"{what} ({reasons.index(c.missing) + 1})" if what else "–"
    if not with_paper or (c.paper is None and ours == "–"):
        return ours
    paper = "–" if c.paper is None else f"{c.paper:.{digits}f}"
    return f"{paper} / {ours}"


def csv_text(table: ResultTable) -> str:
    """Formats a table as CSV, one line per cell, numbers in full.

    Args:
      table: any table.

    Returns:
      The text: row, column, paper, ours, low, high, missing.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("row", "column", "paper", "ours", "low", "high", "missing"))
    for row in table.rows:
        for column, c in zip(table.columns, row.cells, strict=True):
            ours = ("", "", "") if c.ours is None else c.ours
            paper = "" if c.paper is None else c.paper
            writer.writerow((row.name, column, paper, *ours, c.missing))
    return text.getvalue()
