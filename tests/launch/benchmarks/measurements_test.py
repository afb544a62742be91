"""The page of measurements: what is committed is what the code writes from what was recorded."""

import json
import pathlib

import pytest

from launch.benchmark import RECORDED, ROWS
from launch.benchmarks.measurements import page_of

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "measurements.md"


def test_the_page_is_what_was_recorded():
    """Otherwise: python -m launch.benchmark --page=docs/measurements.md."""
    assert PAGE.read_text(encoding="utf-8") == page_of(RECORDED, ROWS)


def test_every_row_and_every_size_is_on_the_page():
    stored, lines = json.loads(RECORDED.read_text()), PAGE.read_text(encoding="utf-8").splitlines()
    for row in stored["rows"]:
        found = [line for line in lines if line.startswith(f"| {row['what']} | {row['who']} | ")]
        assert len(found) == 1 and f"| {row['seconds']['median']:.4g} (" in found[0]
    for each in stored["growth"]["training"]:
        assert [x for x in lines if x.startswith(f"| {each['batch_size']} | {each['devices']} | ")]
    assert f"| date | {stored['date']} |" in lines


def test_a_run_without_growth_versions_and_rows(tmp_path):
    """As earlier versions wrote it, and with everything omitted."""
    stored = json.loads(RECORDED.read_text())
    for name in ("growth", "versions", "command"):
        del stored[name]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(stored | {"rows": [], "left_out": {"pipeline": "no records"}}))
    page = page_of(path, ROWS)
    assert "- Left out: pipeline (no records)" in page and "| versions | jax 0.10.2 |" in page
    assert "Growth" not in page and "| what |" not in page


@pytest.mark.parametrize("content", ["{}", "[]", '{"machine": 1}', "no JSON"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"other.json is no result of this benchmark.*; name"):
        page_of(path, ROWS)
