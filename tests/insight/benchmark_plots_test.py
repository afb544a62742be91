"""The picture of growth shows what was measured."""

from typing import Any

import matplotlib.pyplot as plt
import pytest

from dsf_jax.insight.benchmark_plots import growth

RESULTS: dict[str, Any] = {
    "machine": {"processor": "P", "cores": 2, "device": "cpu"},
    "growth": {
        "search": [
            {"items": n, "seconds": {"median": n / 1e5, "lowest": n / 2e5, "highest": n / 5e4},
             "own_bytes": 10**8, "file_bytes": n}
            for n in (100, 1000)
        ],
        "voting": [
            {"views": v, "seconds": {"median": v, "lowest": v, "highest": v}} for v in (1, 2, 18)
        ],
        "training": [
            {"batch_size": b, "devices": n, "seconds": {"median": b, "lowest": b, "highest": b}}
            for b, n in ((16, 1), (64, 1), (64, 2), (64, 4))
        ],
    },
}  # fmt: skip


def test_each_growth_is_drawn_where_it_was_measured():
    figure = growth(RESULTS)
    searching, voting, batch, devices = figure.axes[:4]
    bars: Any = [axes.containers[0] for axes in (searching, voting, batch, devices)]
    medians = [bar.lines[0] for bar in bars]
    assert [list(line.get_xdata()) for line in medians] == [
        [100, 1000], [1, 2, 18], [16, 64], [1, 2, 4],
    ]  # fmt: skip
    assert list(medians[0].get_ydata()) == [0.001, 0.01]
    low, high = searching.get_ylim()  # its axis is logarithmic
    assert 0 < low < 0.0005 and 0.02 < high < 1
    assert [axes.get_ylim()[0] for axes in (voting, batch, devices)] == [0, 0, 0]
    assert "P, 2 cores" in figure.get_suptitle()
    (memory,) = figure.axes[4].lines
    assert list(memory.get_ydata()) == [100, 100]
    for axes in figure.axes[1:]:  # marks and ranges are not cut
        low, high = axes.get_ylim()
        assert low == 0 and high > 1.05 * axes.dataLim.ymax
    plt.close("all")


def test_results_without_growth_are_refused():
    with pytest.raises(ValueError, match=r"hold no growth; measure it with .*--what=growth"):
        growth({"machine": RESULTS["machine"]})
