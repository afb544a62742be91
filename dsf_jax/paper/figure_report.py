"""All of the paper's figures of one checkpoint -> one HTML page, and their numbers."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm

from dsf_jax.data.files import write_atomic
from dsf_jax.insight.report import html_report
from dsf_jax.paper.figure_inputs import FigureInputs, PaperFigure


def write_report(
    inputs: FigureInputs,
    figures: Mapping[str, Callable[[], PaperFigure]],
    path: str | os.PathLike[str],
) -> dict[str, Any]:
    """Makes figures one after the other and writes them as one page; returns as JSON what they were
    made from, and {name: numbers} of each.

    Args:
      inputs: checkpoint and data that the figures are made from.
      figures: {name: function that makes the figure}, in order.
      path: HTML file to write.
    """
    made = {name: make() for name, make in tqdm(figures.items(), unit="figure", desc="report")}
    facts = {
        "checkpoint": inputs.network.identity(),
        "started from": inputs.before.identity() if inputs.before else None,
        "sketches": [f"{r.name} [{r.split}]" for r in inputs.sketches],
        "photos": [f"{r.name} [{r.split}]" for r in inputs.photos],
        "seed": inputs.seed,
    }
    sections = [figure.section() for figure in made.values()]
    write_atomic(path, html_report(f"Inside {inputs.network.name}", facts, sections))
    return facts | {name: figure.numbers() for name, figure in made.items()}
