"""Reads tables as they are printed."""

import csv
import io

from dsf_jax.paper.tables import csv_text, markdown


def lines_of(table):
    """The table's rows as Markdown shows them: {name: cells}."""
    rows = [line for line in markdown(table).splitlines() if line.startswith("|")][2:]
    return {
        cells[0]: cells[1:]
        for cells in ([x.strip() for x in line.strip("|").split("|")] for line in rows)
    }


def rows_of(table):
    return list(csv.DictReader(io.StringIO(csv_text(table))))
