"""How the library grows, as `launch.benchmark --what=growth` measured it: one figure."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dsf_jax.data.files import read_text
from dsf_jax.insight.plots import from_zero

TIME, MEMORY, EVEN = "#33658a", "#b5651d", "#b0b0b0"


def recorded_growth(path: str | os.PathLike[str]) -> Figure:
    """Draws the growth that a benchmark measured.

    Args:
      path: file that `launch.benchmark --what=growth --json=FILE` wrote.

    Returns:
      See `growth`.

    Raises:
      OSError: there is no such file.
      ValueError: the file holds no growth, or not all of it.
    """
    file = pathlib.Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{file} is no file; name one that launch.benchmark --json wrote")
    try:
        return growth(json.loads(read_text(file)))
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file} is no result of launch.benchmark --what=growth ({error!r}); name a file that its "
            "--json wrote"
        ) from error


def growth(results: Mapping[str, Any]) -> Figure:
    """Draws time, and for searching memory, against size; grey is what linear growth would be.

    Args:
      results: content that `launch.benchmark --what=growth --json=FILE` wrote, parsed.

    Returns:
      Four panels in a row: searching, voting, training by batch, training by devices.

    Raises:
      ValueError: the results hold no growth.
    """
    if "growth" not in results:
        raise ValueError(
            "these results hold no growth; measure it with launch.benchmark --what=growth --json=FILE"
        )
    measured = results["growth"]
    searched, voted, trained = (measured[name] for name in ("search", "voting", "training"))
    figure = Figure(figsize=(15, 3.8), layout="constrained")
    places = figure.subplots(1, 4)

    sizes = [g["items"] for g in searched]
    _timed(places[0], sizes, searched, log=True)
    _named(places[0], "search, 64 queries x 1024", "items")
    _memory(places[0], sizes, [g["own_bytes"] for g in searched])

    _timed(places[1], [g["views"] for g in voted], voted)
    _named(places[1], "voting, one sketch", "views")

    one = [g for g in trained if g["devices"] == 1]
    _timed(places[2], [g["batch_size"] for g in one], one)
    _named(places[2], "training step, one device", "batch")

    size = max((g for g in trained if g["devices"] > 1), key=lambda g: g["devices"])["batch_size"]
    spread = [g for g in trained if g["batch_size"] == size]
    devices = [g["devices"] for g in spread]
    _bars(places[3], devices, spread)
    from_zero(places[3])
    places[3].axhline(spread[0]["seconds"]["median"], color=EVEN, linestyle="--", zorder=0)
    _named(places[3], f"training step, batch {size}", "virtual devices on the same cores")
    machine = results["machine"]
    figure.suptitle(
        f"{machine['processor']}, {machine['cores']} cores, {machine['device']}", fontsize=10
    )
    return figure


def _timed(
    axes: Axes, sizes: Sequence[int], measured: Sequence[Mapping[str, Any]], *, log: bool = False
) -> None:
    """Medians and ranges; the grey line goes through the largest size in proportion."""
    _bars(axes, sizes, measured)
    last = measured[-1]["seconds"]["median"] / sizes[-1]
    axes.plot(sizes, [last * n for n in sizes], "--", color=EVEN, zorder=0)
    if log:
        axes.set(xscale="log", yscale="log")
    else:
        axes.set(xlim=(0, 1.06 * max(sizes)))
        from_zero(axes)


def _bars(axes: Axes, sizes: Sequence[int], measured: Sequence[Mapping[str, Any]]) -> None:
    seconds = [g["seconds"] for g in measured]
    below = [s["median"] - s["lowest"] for s in seconds]
    above = [s["highest"] - s["median"] for s in seconds]
    medians = [s["median"] for s in seconds]
    axes.errorbar(sizes, medians, [below, above], fmt="o-", color=TIME, capsize=3)


def _memory(axes: Axes, sizes: Sequence[int], sizes_in_bytes: Sequence[int]) -> None:
    """A second axis for the memory besides the mapped gallery."""
    memory = axes.twinx()
    memory.plot(sizes, [n / 1e6 for n in sizes_in_bytes], "s:", color=MEMORY)
    from_zero(memory)
    memory.set_ylabel("memory besides the mapped gallery, MB", color=MEMORY, fontsize=8)


def _named(axes: Axes, title: str, across: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(across)
    axes.set_ylabel("seconds", color=TIME)
