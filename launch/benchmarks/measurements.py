"""The page of measurements: what a benchmark's JSON file holds, none of it written by hand."""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from dsf_jax.data.files import read_text
from launch.benchmarks import report
from launch.benchmarks.growth import SearchGrowth, VotingGrowth
from launch.benchmarks.growth_training import TrainingGrowth
from launch.benchmarks.timing import Ratio, Timing
from launch.benchmarks.work import Row

HEAD = """# Measurements

This page is written by `python -m launch.benchmark --page=docs/measurements.md`, from
`launch/benchmarks/recorded.json`; a test compares the two. To measure again, keep the results of a run as
that file (`--json=FILE` writes them), and write the page again.
"""

METHOD = """That all compute the same is checked before anything is timed; the last column is the difference of the
results. The calls that are compared take turns, so that whatever else the machine does meets all of them.
Seconds are the median of the rounds, with the lowest and the highest. "Time over ours" is the median of the
rounds' ratios, with the quartiles: above 1, the other library takes longer. "Of the limit" is the least time
that the work can take, over its median time: the longer of its operations at the rate of a large matrix
product, and of its bytes at the rate of a large copy, both measured in the same run. What only reads
memory may be faster than a copy; its cell then says that the limit was measured too low. Operations are
those of the definition: convolutions of 3 x 3 need fewer here (Winograd's products), and so can pass it.
"""

GROWTH_METHOD = """Each gallery, batch and number of devices is measured in a process of its own. Memory of a training step is
the whole process's, with JAX itself; virtual devices share the machine's cores. The gallery is a mapped file
of float16; "own memory" is what the process takes besides its pages.
"""


def page_of(path: pathlib.Path, rows: Mapping[str, Callable[..., Any]]) -> str:
    """Writes the page of a benchmark's file.

    Args:
      path: file that `launch.benchmark --json` wrote.
      rows: functions that make the rows, by the names of `--what`; their docstrings say what is timed.

    Returns:
      The page, in Markdown.

    Raises:
      ValueError: when the file holds something else.
      OSError: when it cannot be read.
    """
    try:
        stored = json.loads(read_text(path))
        parts = [HEAD, _about(stored), _comparison(stored, rows)]
        if "growth" in stored:
            parts.append(_growth(stored["growth"]))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no result of this benchmark ({error!r}); name another with --recorded"
        ) from error
    return "\n".join(parts)


def _about(stored: Mapping[str, Any]) -> str:
    """When, where and by which command it was measured, and with which versions."""
    here = stored["machine"]
    versions = {"jax": here["jax"]} | stored.get("versions", {})
    lines = [
        ("date", stored["date"]),
        ("machine", f"{here['processor']}, {here['cores']} cores, {here['devices']} x {here['device']}"),
        ("load when it began", f"{here['load_average']:.2f}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("network", f"batch {stored['batch_size']}, {stored['dtype']}"),
    ]  # fmt: skip
    if "command" in stored:
        lines.append(("command", f"`{stored['command']}`"))
    return report.markdown(("", ""), lines) + "\n"


def _comparison(stored: Mapping[str, Any], rows: Mapping[str, Callable[..., Any]]) -> str:
    measured = [
        Row(**{**row, "seconds": Timing(**row["seconds"]), "ratio": Ratio(**row["ratio"])})
        for row in stored["rows"]
    ]
    purposes = [
        (f"`{what}`", " ".join((function.__doc__ or "").split("\n\n")[0].split()))
        for what, function in rows.items()
    ]
    left_out = [f"- Left out: {what} ({reason})" for what, reason in stored["left_out"].items()]
    return "\n".join(
        [
            f"## Beside other libraries\n\n{METHOD}",
            *([report.rows_table(measured), ""] if measured else []),
            *([*left_out, ""] if left_out else []),
            "What `--what` times:\n",
            report.markdown(("name", "work"), purposes),
            "",
        ]
    )


def _growth(stored: Mapping[str, Any]) -> str:
    """How time and memory grow; the figure is drawn from the same file."""

    def with_timings(kind: Callable[..., Any], name: str) -> list[Any]:
        return [kind(**{**each, "seconds": Timing(**each["seconds"])}) for each in stored[name]]

    searched, voted = with_timings(SearchGrowth, "search"), with_timings(VotingGrowth, "voting")
    return "\n".join(
        [
            f"## Growth\n\n{GROWTH_METHOD}",
            f"{report.growth_tables(searched, voted)}\n",
            f"{report.training_table(with_timings(TrainingGrowth, 'training'))}\n",
            "The same as a figure (`python -m launch.figures --what=benchmark"
            " --results=launch/benchmarks/recorded.json --out=docs/growth.png`):\n",
            "![growth](growth.png)\n",
        ]
    )
