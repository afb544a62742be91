"""What is printed and kept of a run: tables, JSON, and how it compares with the last one recorded."""

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dsf_jax.data.files import read_text
from launch.benchmarks.growth import SearchGrowth, VotingGrowth
from launch.benchmarks.growth_training import TrainingGrowth
from launch.benchmarks.timing import Timing, same_machine
from launch.benchmarks.work import OURS, Row

LIMIT_ERROR = 0.05  # of the rates that limits are computed from


def markdown(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Lays out a Markdown table."""
    return "\n".join(
        f"| {' | '.join(cells)} |" for cells in (titles, ["---"] * len(titles), *lines)
    )


def spread(seconds: Timing) -> str:
    """Median and range, to four digits however short."""
    return f"{seconds.median:.4g} ({seconds.lowest:.4g} to {seconds.highest:.4g})"


def rows_table(
    rows: Sequence[Row], recorded: Mapping[tuple[str, str], Mapping[str, Any]] | None = None
) -> str:
    """The comparison as Markdown.

    Args:
      rows: what was measured.
      recorded: rows of an earlier run on the same machine, by `what` and `who`; None leaves out the
        column that compares with them.
    """
    columns: dict[str, Callable[[Row], str]] = {
        "what": lambda row: row.what,
        "who": lambda row: row.who,
        "seconds": lambda row: spread(row.seconds),
        "per second": lambda row: f"{row.rate:.4g} {row.unit}",
        "of the limit": of_limit,
        "time over ours": _over_ours,
    }
    if recorded is not None:
        columns["recorded"] = lambda row: _beside(row, recorded.get((row.what, row.who)))
    columns["difference"] = lambda row: "" if row.difference is None else f"{row.difference:.0e}"
    return markdown(tuple(columns), [[cell(row) for cell in columns.values()] for row in rows])


def _over_ours(row: Row) -> str:
    if row.who == OURS:
        return "1"
    return f"{row.ratio.median:.2f} ({row.ratio.lower:.2f} to {row.ratio.upper:.2f})"


def of_limit(row: Row) -> str:
    """Formats how near a time is to the machine's limit. What is faster than that shows that the limit was
    measured too low (other work took the cores meanwhile), and nothing of the work.
    """
    if row.of_limit > 1 + LIMIT_ERROR:
        return "limit measured too low"
    return f"{row.of_limit:.0%}" if row.of_limit else ""


def regressed(row: Row, before: Mapping[str, Any]) -> bool:
    """Returns whether a ratio fell by more than the spread: the middle halves of the rounds, then and
    now, do not meet.
    """
    return row.who != OURS and row.ratio.upper < before["ratio"]["lower"]


def _beside(row: Row, before: Mapping[str, Any] | None) -> str:
    if before is None or row.who == OURS:
        return ""
    return f"{before['ratio']['median']:.2f}{', REGRESSED' if regressed(row, before) else ''}"


def read_recorded(
    path: pathlib.Path, now: Mapping[str, Any]
) -> tuple[dict[tuple[str, str], dict[str, Any]], str]:
    """Reads an earlier run's rows, if they are of the same machine and the same work.

    Args:
      path: a file that `--json` wrote.
      now: what this run keeps of itself: machine, batch_size and dtype.

    Returns:
      The rows by `what` and `who`, and a sentence about what they are.

    Raises:
      ValueError: when the file holds something else.
    """
    if not path.is_file():
        return {}, f"{path} is not there: nothing to compare with"
    try:
        stored = json.loads(read_text(path))
        rows = {(row["what"], row["who"]): row for row in stored["rows"]}
        there = stored["machine"]
        named = f"{there['processor']}, {there['cores']} cores, {there['device']}"
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no result of this benchmark ({error!r}); name another with --recorded"
        ) from error
    if not same_machine(there, now["machine"]):
        return {}, f"{path} was recorded on another machine ({named}): not compared"
    for name in ("batch_size", "dtype"):
        if stored.get(name) != now[name]:
            return {}, f"{path} was recorded with --{name}={stored.get(name)}: not compared"
    return rows, f"recorded: {path}, {stored['date']}"


def record(result: Any) -> Any:
    """A result as JSON keeps it: tuples with names become dicts."""
    if hasattr(result, "_asdict"):
        return {name: record(value) for name, value in result._asdict().items()}
    return result


def training_table(measured: Sequence[TrainingGrowth]) -> str:
    """The measured steps as Markdown."""
    return markdown(
        ("batch", "virtual devices", "seconds", "images/s", "peak memory, GB",
         "temporary per device, GB"),
        [
            (str(g.batch_size), str(g.devices), spread(g.seconds), f"{g.images_per_second:.1f}",
             f"{g.peak_bytes / 1e9:.2f}", f"{g.temporary_bytes / 1e9:.2f}")
            for g in measured
        ],
    )  # fmt: skip


def growth_tables(searched: Sequence[SearchGrowth], voted: Sequence[VotingGrowth]) -> str:
    """Growth of searching and of voting as Markdown."""
    searching = markdown(
        ("items", "seconds, 64 queries", "own memory, MB", "gallery file, MB"),
        [
            (f"{g.items:,}", spread(g.seconds), f"{g.own_bytes / 1e6:.0f}",
             f"{g.file_bytes / 1e6:.0f}")
            for g in searched
        ],
    )  # fmt: skip
    voting = markdown(("views", "seconds"), [(str(g.views), spread(g.seconds)) for g in voted])
    return f"{searching}\n\n{voting}"
