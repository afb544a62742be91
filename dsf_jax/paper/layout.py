"""Results -> the paper's Tables 1 to 3 and Fig. 4: which result stands in which cell."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dsf_jax.evaluation.results import ResultRecord
from dsf_jax.evaluation.statistics import Measure
from dsf_jax.paper.numbers import (
    FEATURES,
    FIGURE_4,
    FIGURE_4_NUMBER,
    FIGURE_4_SIZES,
    METHODS,
    RESIZED,
    RUNS,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_3_OTHERS,
)
from dsf_jax.paper.tables import Cell, NotRun, Outcome, ResultRow, ResultTable, cell

OTHERS = "not run: needs an implementation of that method; no library brings it"
RETRIEVAL_NUMBERS = ("mAP", "P@10")
STATED = ("views", "K", "seed", "difficult_as")  # entries of protocols that a table states


class CurvePoint(NamedTuple):
    """One point of a curve over the number of negatives.

    Attributes:
      size: name of the point, "0", "1000", ..., "all".
      negatives: number of negatives.
      value: value with its interval.
    """

    size: str
    negatives: int
    value: Measure


def table_1(results: Mapping[str, Outcome]) -> ResultTable:
    """Lays out recognition, by training mixture and resizing.

    Args:
      results: {run: result}, one per run of `RUNS`, joined over folds.
    """
    rows = [
        ResultRow(
            run_label(run),
            tuple(
                cell(results[run], f"accuracy/{method}", paper)
                for method, paper in zip(METHODS, TABLE_1[run], strict=True)
            ),
        )
        for run in RUNS
    ]
    return ResultTable(
        "Table 1: accuracy of sketch recognition",
        tuple(METHODS.values()),
        tuple(rows),
        3,
        _notes(list(results.values())),
    )


def table_2(
    ours: Outcome, rivals: Mapping[str, Outcome], baselines: Mapping[str, Outcome]
) -> ResultTable:
    """Lays out recognition, compared with other methods.

    Args:
      ours: the result of the run S, joined over folds.
      rivals: results of other networks of `TABLE_2`, as ours, voted.
      baselines: classifiers that are run on the same sketches, accuracy "linear"; some are of `TABLE_2`.
    """
    rows = []
    for name, paper in TABLE_2.items():
        own = Cell(paper, missing=OTHERS)
        if name in rivals:
            own = cell(rivals[name], "accuracy/voting", paper)
        elif name in baselines:
            own = cell(baselines[name], "accuracy/linear", paper)
        rows.append(ResultRow(name, (own,)))
    rows.append(ResultRow("S, 18-angle voting", (cell(ours, "accuracy/voting", TABLE_1["S"][1]),)))
    rows += [
        ResultRow(f"{name} + linear classifier", (cell(outcome, "accuracy/linear"),))
        for name, outcome in baselines.items()
        if name not in TABLE_2
    ]
    return ResultTable(
        "Table 2: accuracy of sketch recognition, other methods",
        ("accuracy",),
        tuple(rows),
        3,
        _notes([ours, *rivals.values(), *baselines.values()]),
    )


def table_3(
    results: Mapping[tuple[str, str], Outcome], baselines: Mapping[str, Outcome]
) -> ResultTable:
    """Lays out the correlation of distances with people's ratings.

    Args:
      results: {(run, feature): result}, one per run of `TABLE_3` and feature of `FEATURES`, joined over
        folds.
      baselines: results of what has one feature.
    """
    rows = [
        ResultRow(
            run,
            tuple(
                cell(results[run, layer], "tau-b", paper)
                for layer, paper in zip(FEATURES, papers, strict=True)
            ),
        )
        for run, papers in TABLE_3.items()
    ]
    # A published descriptor has one number, and no layers.
    rows += [
        ResultRow(name, (Cell(), Cell(), Cell(paper, missing=OTHERS)))
        for name, paper in TABLE_3_OTHERS.items()
    ]
    rows += [
        ResultRow(name, (Cell(), Cell(), cell(outcome, "tau-b")))
        for name, outcome in baselines.items()
    ]
    return ResultTable(
        "Table 3: Kendall's tau-b with the ratings of Eitz et al.",
        FEATURES,
        tuple(rows),
        4,
        _notes([*results.values(), *baselines.values()]),
    )


def retrieval_table(results: Mapping[tuple[str, str], Outcome]) -> ResultTable:
    """Lays out category retrieval on any prepared data; the paper has no such table.

    Args:
      results: {(network or baseline, layer or ""): result}.
    """
    rows = [
        ResultRow(" ".join(filter(None, key)), tuple(cell(outcome, n) for n in RETRIEVAL_NUMBERS))
        for key, outcome in results.items()
    ]
    return ResultTable(
        "Category retrieval: photos of a sketch's class",
        RETRIEVAL_NUMBERS,
        tuple(rows),
        3,
        _notes(list(results.values())),
    )


def figure_4(results: Mapping[str, Outcome]) -> ResultTable:
    """Lays out the numbers behind Fig. 4: bounded mAP of each class among more and more negatives.

    Args:
      results: {run or baseline: result}, joined over folds.
    """
    drawn = {
        run: curves_of(outcome)
        for run, outcome in results.items()
        if isinstance(outcome, ResultRecord)
    }
    classes = list(dict.fromkeys(name for curves in drawn.values() for name in curves))
    measured = {p.size for curves in drawn.values() for curve in curves.values() for p in curve}
    sizes = sorted({*FIGURE_4_SIZES, *measured}, key=lambda s: math.inf if s == "all" else int(s))
    places = [(name, size) for name in classes or FIGURE_4 for size in sizes]
    printed = {(name, "all"): value for name, value in FIGURE_4.items()}
    rows = [ResultRow("the paper, L6+L7", tuple(Cell(printed.get(place)) for place in places))]
    for run, outcome in results.items():
        cells = _curve_cells(outcome, drawn.get(run, {}), places)
        rows.append(ResultRow(run, cells))
    return ResultTable(
        f"Fig. 4: {FIGURE_4_NUMBER} on VOC2007, all positives and more and more negatives",
        tuple(f"{name}, {size} negatives" for name, size in places),
        tuple(rows),
        3,
        _notes(list(results.values())),
    )


def _curve_cells(
    outcome: Outcome,
    curves: Mapping[str, Sequence[CurvePoint]],
    places: Sequence[tuple[str, str]],
) -> tuple[Cell, ...]:
    """Returns one cell per class and number of negatives, from {class: curve}."""
    points = {(name, p.size): p for name, curve in curves.items() for p in curve}
    reason = "no value: there are fewer negatives"
    missing = Cell(missing=str(outcome) if isinstance(outcome, NotRun) else reason)
    return tuple(
        Cell(None, points[place].value) if place in points else missing for place in places
    )


def curves_of(record: ResultRecord) -> dict[str, list[CurvePoint]]:
    """Reads the curves of a result of `voc_retrieval`, single or joined over folds.

    Args:
      record: the result. Single ones have bootstrap intervals; joined ones mean, lowest and highest fold.

    Returns:
      {class: its points, by ascending number of negatives}.
    """
    sizes = list(map(str, record.configuration["negatives"]))
    details = [fold["details"] for fold in record.details.get("folds", ())] or [record.details]
    per_fold = [content["curve"][FIGURE_4_NUMBER] for content in details]
    return {
        name: [
            CurvePoint(size, points[0]["negatives"], _joined(points))
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


def run_label(run: str) -> str:
    """Returns a run's name for people."""
    return f"S, {RESIZED[run]} resizing" if run in RESIZED else run


def _notes(results: Sequence[Outcome]) -> tuple[str, ...]:
    """States what the intervals are, and what and how much was evaluated."""
    records = [outcome for outcome in results if isinstance(outcome, ResultRecord)]
    intervals = dict.fromkeys(f"[low, high]: {record.interval}." for record in records)
    counts = dict.fromkeys(
        "Evaluated: " + ", ".join(f"{n} {name}" for name, n in record.counts.items()) + "."
        for record in records
    )
    options = dict.fromkeys(
        "Options: " + ", ".join(f"{name} {value}" for name, value in given.items()) + "."
        for record in records
        if (given := {k: record.configuration[k] for k in STATED if k in record.configuration})
    )
    definitions = {
        f"{name}: {text}."
        for record in records
        for name, text in record.configuration.get("definitions", {}).items()
    }
    zero_shot = {
        f"Zero-shot: {record.configuration['zero_shot']['asked']}."
        for record in records
        if "zero_shot" in record.configuration
    }
    data = {
        f"Data: {', '.join(names)}."
        for record in records
        if (names := sorted(set(_data_names(record.configuration))))
    }
    return (*intervals, *counts, *sorted(zero_shot), *sorted(data), *options, *sorted(definitions))


def _data_names(configuration: Any) -> Iterator[str]:
    """Yields NAME [SPLIT] of all data sets that a configuration describes, at whatever depth."""
    if isinstance(configuration, Mapping):
        if {"name", "split"} <= configuration.keys():
            yield f"{configuration['name']} [{configuration['split']}]"
        configuration = list(configuration.values())
    if isinstance(configuration, list):
        for part in configuration:
            yield from _data_names(part)
