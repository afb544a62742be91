"""The paper's Tables 1 to 3 and Fig. 4 with our results beside its numbers, as Markdown and CSV.

Everything that the paper prints stands here, once. A cell is the paper's number, ours with its
interval, or the reason why there is none; nothing is filled in.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dsf_jax.evaluation.results import ResultRecord
from dsf_jax.evaluation.statistics import Measure

LAYERS = ("L6", "L7", "L6+L7")
WAYS = {"single_angle": "single angle", "voting": "18-angle voting"}
RESIZED = {"S-bilinear": "bilinear", "S-cubic": "cubic"}  # runs of sketches that were interpolated

# Table 1, accuracy: single angle, 18-angle voting.
TABLE_1: dict[str, tuple[float | None, float | None]] = {
    "S-bilinear": (0.690, 0.710),
    "S-cubic": (None, None),
    "S": (0.747, 0.773),
    "S+I": (0.738, 0.767),
    "S+E": (0.743, 0.771),
    "S+I+E": (0.745, 0.768),
}
# Table 2, accuracy; the paper's own row is Table 1's.
TABLE_2 = {
    "human": 0.732,
    "SIFT + BoW + SVM": 0.56,
    "star graph + KNN": 0.615,
    "MKL": 0.658,
    "SIFT + Fisher": 0.689,
    "Sketch-a-Net": 0.749,
}
# Table 3, Kendall's rank correlation: L6, L7, L6+L7.
TABLE_3 = {
    "S": (0.2757, 0.2831, 0.2981),
    "S+I": (0.4603, 0.4403, 0.4578),
    "S+I+E": (0.4607, 0.4615, 0.4773),
}
TABLE_3_OTHERS = {
    "SHOG": 0.277,
    "words of interest": 0.313,
    "key shapes": 0.289,
    "min-hash": 0.336,
    "content-aware": 0.352,
}
# Fig. 4, bounded mAP at K = 150 with all negatives, L6+L7.
FIGURE_4 = {"car": 0.90, "bicycle": 0.76}
FIGURE_4_NUMBER = "bounded mAP@150"
FIGURE_4_SIZES = ("0", "1000", "5000", "all")

OTHERS = "not run: needs an implementation of that method; no library brings it"

RUNS = tuple(TABLE_1)
RETRIEVAL_NUMBERS = ("mAP", "P@10")
OPTIONS = ("views", "K", "seed", "difficult_as")  # of protocols: a table says which were taken


class NotRun(NamedTuple):
    """Why there is no result, and what to do about it."""

    reason: str


Found = ResultRecord | NotRun


class Cell(NamedTuple):
    """One place of a table."""

    paper: float | None = None
    ours: Measure | None = None
    missing: str = ""  # "not run: why", where `ours` is None; "" where nothing of ours belongs


class Row(NamedTuple):
    """A row's name and its cells, in the order of the columns."""

    name: str
    cells: tuple[Cell, ...]


class Table(NamedTuple):
    """A table.

    Attributes:
      title: one line.
      columns: names of the columns of cells.
      rows: from top to bottom.
      digits: behind the point.
      notes: what stands below it, a line each.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    digits: int
    notes: tuple[str, ...]


class Point(NamedTuple):
    """One point of a curve over the number of negatives."""

    size: str  # "0", "1000", ..., "all"
    negatives: int
    value: Measure


def cell(found: Found, number: str, paper: float | None = None) -> Cell:
    """Makes the cell of one number of a result.

    Args:
      found: the result, or why there is none.
      number: its name in the record.
      paper: what the paper prints there.
    """
    if isinstance(found, NotRun):
        return Cell(paper, None, _not_run(found))
    if number not in found.numbers:
        return Cell(paper, None, f"no value: {number} has none on data of this size")
    return Cell(paper, found.numbers[number])


def _not_run(found: NotRun) -> str:
    return f"not run: {found.reason}"


def table_1(results: Mapping[str, Found]) -> Table:
    """Recognition, by training mixture and resizing.

    Args:
      results: of each of `RUNS`, joined over folds.
    """
    rows = [
        Row(
            run_label(run),
            tuple(
                cell(results[run], f"accuracy/{way}", paper)
                for way, paper in zip(WAYS, TABLE_1[run], strict=True)
            ),
        )
        for run in RUNS
    ]
    return Table(
        "Table 1: accuracy of sketch recognition",
        tuple(WAYS.values()),
        tuple(rows),
        3,
        _notes(list(results.values())),
    )


def run_label(run: str) -> str:
    """Returns a run's name for people."""
    return f"S, {RESIZED[run]} resizing" if run in RESIZED else run


def table_2(ours: Found, baselines: Mapping[str, Found]) -> Table:
    """Recognition, compared with other methods.

    Args:
      ours: the result of the run S, joined over folds.
      baselines: classifiers that are run on the same sketches, accuracy "linear".
    """
    rows = [Row(name, (Cell(paper, missing=OTHERS),)) for name, paper in TABLE_2.items()]
    rows.append(Row("S, 18-angle voting", (cell(ours, "accuracy/voting", TABLE_1["S"][1]),)))
    rows += [
        Row(f"{name} + linear classifier", (cell(found, "accuracy/linear"),))
        for name, found in baselines.items()
    ]
    return Table(
        "Table 2: accuracy of sketch recognition, other methods",
        ("accuracy",),
        tuple(rows),
        3,
        _notes([ours, *baselines.values()]),
    )


def table_3(results: Mapping[tuple[str, str], Found], baselines: Mapping[str, Found]) -> Table:
    """Correlation of distances with people's ratings.

    Args:
      results: {(run, layer): of each run of `TABLE_3` and each of `LAYERS`}, joined over folds.
      baselines: of what has one feature.
    """
    rows = [
        Row(
            run,
            tuple(
                cell(results[run, layer], "tau-b", paper)
                for layer, paper in zip(LAYERS, papers, strict=True)
            ),
        )
        for run, papers in TABLE_3.items()
    ]
    # A published descriptor has one number, and no layers.
    rows += [
        Row(name, (Cell(), Cell(), Cell(paper, missing=OTHERS)))
        for name, paper in TABLE_3_OTHERS.items()
    ]
    rows += [Row(name, (Cell(), Cell(), cell(found, "tau-b"))) for name, found in baselines.items()]
    return Table(
        "Table 3: Kendall's tau-b with the ratings of Eitz et al.",
        LAYERS,
        tuple(rows),
        4,
        _notes([*results.values(), *baselines.values()]),
    )


def retrieval_table(results: Mapping[tuple[str, str], Found]) -> Table:
    """Category retrieval on any prepared data; the paper has no such table.

    Args:
      results: {(network or baseline, layer or ""): result}.
    """
    rows = [
        Row(" ".join(filter(None, key)), tuple(cell(found, n) for n in RETRIEVAL_NUMBERS))
        for key, found in results.items()
    ]
    return Table(
        "Category retrieval: photos of a sketch's class",
        RETRIEVAL_NUMBERS,
        tuple(rows),
        3,
        _notes(list(results.values())),
    )


def figure_4(results: Mapping[str, Found]) -> Table:
    """The numbers behind Fig. 4: bounded mAP of each class among more and more negatives.

    Args:
      results: {run or baseline: result}, joined over folds.
    """
    drawn = {
        run: curves_of(found) for run, found in results.items() if isinstance(found, ResultRecord)
    }
    classes = list(dict.fromkeys(name for curves in drawn.values() for name in curves))
    classes = classes or list(FIGURE_4)
    measured = {p.size for curves in drawn.values() for curve in curves.values() for p in curve}
    sizes = sorted({*FIGURE_4_SIZES, *measured}, key=lambda s: math.inf if s == "all" else int(s))
    places = [(name, size) for name in classes for size in sizes]
    printed = {(name, "all"): value for name, value in FIGURE_4.items()}
    rows = [Row("the paper, L6+L7", tuple(Cell(printed.get(place)) for place in places))]
    for run, found in results.items():
        points = {(name, p.size): p for name, curve in drawn.get(run, {}).items() for p in curve}
        reason = (
            _not_run(found) if isinstance(found, NotRun) else "no value: there are fewer negatives"
        )
        rows.append(
            Row(
                run,
                tuple(
                    Cell(None, points[place].value) if place in points else Cell(missing=reason)
                    for place in places
                ),
            )
        )
    return Table(
        f"Fig. 4: {FIGURE_4_NUMBER} on VOC2007, all positives and more and more negatives",
        tuple(f"{name}, {size} negatives" for name, size in places),
        tuple(rows),
        3,
        _notes(list(results.values())),
    )


def curves_of(record: ResultRecord) -> dict[str, list[Point]]:
    """Reads the curves of a result of `voc_retrieval`, single or joined over folds.

    Args:
      record: single ones have bootstrap intervals, of joined ones mean, lowest and highest fold.

    Returns:
      {class: its points, negatives ascending}.
    """
    sizes = list(map(str, record.configuration["negatives"]))
    details = [fold["details"] for fold in record.details.get("folds", ())] or [record.details]
    per_fold = [content["curve"][FIGURE_4_NUMBER] for content in details]
    return {
        name: [
            Point(size, points[0]["negatives"], _joined(points))
            for size, points in zip(
                sizes, zip(*(f[name] for f in per_fold), strict=True), strict=True
            )
        ]
        for name in per_fold[0]
    }


def _joined(points: Sequence[Mapping[str, Any]]) -> Measure:
    if len(points) == 1:
        return Measure(*(points[0][name] for name in Measure._fields))
    values = [point["value"] for point in points]
    return Measure(sum(values) / len(values), min(values), max(values))


def _notes(results: Sequence[Found]) -> tuple[str, ...]:
    """Says what the intervals are, and on what and how much each number stands."""
    records = [found for found in results if isinstance(found, ResultRecord)]
    intervals = dict.fromkeys(f"[low, high]: {record.interval}." for record in records)
    counts = dict.fromkeys(
        "Evaluated: " + ", ".join(f"{n} {name}" for name, n in record.counts.items()) + "."
        for record in records
    )
    options = dict.fromkeys(
        "Options: " + ", ".join(f"{name} {value}" for name, value in given.items()) + "."
        for record in records
        if (given := {k: record.configuration[k] for k in OPTIONS if k in record.configuration})
    )
    definitions = {
        f"{name}: {text}."
        for record in records
        for name, text in record.configuration.get("definitions", {}).items()
    }
    data = {
        f"Data: {', '.join(names)}."
        for record in records
        if (names := sorted(set(_data_names(record.configuration))))
    }
    return (*intervals, *counts, *sorted(data), *options, *sorted(definitions))


def _data_names(configuration: Any) -> Iterator[str]:
    """Yields NAME [SPLIT] of all data sets that a configuration describes, at whatever depth."""
    if isinstance(configuration, Mapping):
        if {"name", "split"} <= configuration.keys():
            yield f"{configuration['name']} [{configuration['split']}]"
        configuration = list(configuration.values())
    if isinstance(configuration, list):
        for part in configuration:
            yield from _data_names(part)


def markdown(table: Table) -> str:
    """Words a table as Markdown: the paper's number, a slash, ours; reasons stand below by letter.

    Args:
      table: any.

    Returns:
      The text, ending in a line break.
    """
    reasons = list(dict.fromkeys(c.missing for row in table.rows for c in row.cells if c.missing))
    with_paper = any(c.paper is not None for row in table.rows for c in row.cells)
    head = "| | " + " | ".join(table.columns) + " |"
    lines = [f"## {table.title}", "", head, "|---" * (1 + len(table.columns)) + "|"]
    for row in table.rows:
        cells = [_words(c, table.digits, reasons, with_paper) for c in row.cells]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    notes = [*table.notes, *(f"({i}) {reason}." for i, reason in enumerate(reasons, 1))]
    if with_paper:
        notes.insert(0, "Each cell: the paper / ours [low, high].")
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def _words(c: Cell, digits: int, reasons: Sequence[str], with_paper: bool) -> str:
    if c.ours is not None:
        value, low, high = (f"{x:.{digits}f}" for x in c.ours)
        ours = f"{value} [{low}, {high}]"
    else:
        what = c.missing.partition(":")[0]
        ours = f"{what} ({reasons.index(c.missing) + 1})" if what else "–"
    if not with_paper or (c.paper is None and ours == "–"):
        return ours
    paper = "–" if c.paper is None else f"{c.paper:.{digits}f}"
    return f"{paper} / {ours}"


def csv_text(table: Table) -> str:
    """Writes a table as CSV, a line a cell, numbers in full.

    Args:
      table: any.

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
