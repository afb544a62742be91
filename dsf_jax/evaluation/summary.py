"""Results -> a small table for a terminal."""

from collections.abc import Sequence

from dsf_jax.evaluation.results import ResultRecord
from dsf_jax.evaluation.statistics import Measure


def summary(records: Sequence[ResultRecord]) -> str:
    """Lays out the results of one evaluation: a line per number, a column per feature.

    Args:
      records: results of one protocol on the same examples, at least one.

    Returns:
      The table; below it the counts, what the intervals are, and how each number is defined.
    """
    first = records[0]
    names = list(dict.fromkeys(name for record in records for name in record.numbers))
    layers = [str(record.configuration.get("layer", "")) for record in records]
    lines = [["", *layers]] if any(layers) else []
    lines += [[name, *(_cell(record.numbers.get(name)) for record in records)] for name in names]
    counts = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in first.counts.items())
    definitions = first.configuration.get("definitions", {})
    zero_shot = first.configuration.get("zero_shot")
    query_views = first.configuration.get("query_views")
    return "\n".join(
        [
            *_aligned(lines),
            "",
            f"{counts}; in brackets: {first.interval}",
            *([f"zero-shot: {zero_shot['asked']}"] if zero_shot else []),
            *([f"views of each sketch: {query_views}"] if query_views else []),
            *(f"{name}: {text}" for name, text in definitions.items()),
        ]
    )


def _cell(measure: Measure | None) -> str:
    """Formats a number with its interval."""
    return "-" if measure is None else measure.text()


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Pads the cells of each column to one width."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
