"""Tables: numbers in full as CSV."""

from dsf_jax.evaluation.statistics import Measure
from dsf_jax.paper.tables import Cell, ResultRow, ResultTable
from tests.paper.read import rows_of


def test_csv_has_a_line_a_cell_with_numbers_in_full():
    cells = (Cell(0.5, Measure(1 / 3, 0.25, 0.4)), Cell(None, None, 'not run: a, "b"'), Cell(0.75))
    table = ResultTable("any", ("x", "y", "z"), (ResultRow("first, of all", cells),), 2, ())
    assert rows_of(table) == [
        {"row": "first, of all", "column": "x", "paper": "0.5", "ours": repr(1 / 3),
         "low": "0.25", "high": "0.4", "missing": ""},
        {"row": "first, of all", "column": "y", "paper": "", "ours": "", "low": "", "high": "",
         "missing": 'not run: a, "b"'},
        {"row": "first, of all", "column": "z", "paper": "0.75", "ours": "", "low": "", "high": "",
         "missing": ""},
    ]  # fmt: skip
