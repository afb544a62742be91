"""Tables, and the comparison with what was recorded."""

import json

import pytest

from launch.benchmarks import report
from launch.benchmarks.timing import Ratio, Timing
from launch.benchmarks.work import OURS, Row

HERE = {"processor": "P", "cores": 2, "device": "cpu", "devices": 1}
NOW = {"machine": HERE, "batch_size": 64, "dtype": "float32"}


def row(who, median, lower, upper):
    return Row("work", who, Timing(2.0, 1.0, 3.0), 4.0, "images", 0.5, Ratio(median, lower, upper),
               None if who == OURS else 1e-6)  # fmt: skip


def stored(tmp_path, rows, **machine):
    path = tmp_path / "recorded.json"
    content = {
        "date": "2026-11-23",
        **NOW,
        "machine": HERE | machine,
        "rows": list(map(report.record, rows)),
    }
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("now", "worse"),
    [((1.5, 1.4, 1.6), False), ((1.2, 1.1, 1.31), False), ((1.2, 1.1, 1.29), True)],
)
def test_worse_by_more_than_the_spread_is_told(tmp_path, now, worse):
    """Recorded were 1.5, the middle half of the rounds between 1.3 and 1.7."""
    recorded, about = report.read_recorded(stored(tmp_path, [row("peer", 1.5, 1.3, 1.7)]), NOW)
    assert "2026-11-23" in about
    table = report.rows_table([row(OURS, 1, 1, 1), row("peer", *now)], recorded).splitlines()
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1
    assert ("1.50, REGRESSED" in table[3]) == worse and "1.50" in table[3]
    assert report.regressed(row("peer", *now), recorded["work", "peer"]) == worse


def test_other_machines_and_no_record_are_not_compared_with(tmp_path):
    path = stored(tmp_path, [row("peer", 1.5, 1.3, 1.7)], cores=64)
    recorded, about = report.read_recorded(path, NOW)
    assert not recorded and "another machine (P, 64 cores, cpu)" in about
    recorded, about = report.read_recorded(tmp_path / "none.json", NOW)
    assert not recorded and "not there" in about


@pytest.mark.parametrize(
    ("now", "words"),
    [({"batch_size": 8}, "--batch_size=64"), ({"dtype": "bfloat16"}, "--dtype=float32")],
)
def test_other_work_is_not_compared_with(tmp_path, now, words):
    path = stored(tmp_path, [row("peer", 1.5, 1.3, 1.7)])
    recorded, about = report.read_recorded(path, NOW | now)
    assert not recorded and f"{words}: not compared" in about


@pytest.mark.parametrize("content", ["{}", "[]", "no JSON"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"other.json is no result of this benchmark.*; name"):
        report.read_recorded(path, NOW)
