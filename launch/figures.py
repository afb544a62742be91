"""Draws what one wants to look at: records of a prepared data set, or a run's training curves.

python -m launch.figures --what=records --dataset=openmoji/sketch --data_dir=data --out=sheet.png
python -m launch.figures --what=curves --run_dir=runs/quickstart --out=curves.png
"""

import pathlib
from typing import Any

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from dsf_jax.data.records import open_records
from dsf_jax.images.points import pad_points
from dsf_jax.images.resize import edge_preserving_resize
from dsf_jax.insight.figures import contact_sheet, save_figure, training_curves
from dsf_jax.training.metrics_log import read_metrics
from launch import command

_WHAT = flags.DEFINE_enum(
    "what",
    None,
    ["curves", "records"],
    "records: a sheet of random records, drawings beside the map that their points give. "
    "curves: loss and accuracy of a run.",
    required=True,
)
_OUT = flags.DEFINE_string("out", None, "PNG file; never overwritten.", required=True)
_DATASET = flags.DEFINE_string("dataset", None, "records: a prepared data set, openmoji/sketch.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "records: folder of prepared records.")
_SPLIT = flags.DEFINE_string("split", "train", "records: split of the data set.")
_COUNT = flags.DEFINE_integer("count", 50, "records: how many to draw.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "records: of the choice.")
_RUN_DIR = flags.DEFINE_string("run_dir", None, "curves: folder of the run.")


def records_sheet(data_dir: str, dataset: str, split: str, *, count: int, seed: int) -> Figure:
    """Draws randomly chosen records, in order."""
    records = open_records(data_dir, dataset, split)
    chosen = np.random.default_rng(seed).permutation(len(records))[:count]
    shown = [records[int(i)] for i in sorted(chosen)]
    title = f"{records.name} [{split}]: {len(shown)} of {len(records)} records"
    images = [image for record in shown for image in _images(record)]
    each = len(images) // len(shown)
    captions = [r["class_name"] if i == 0 else "its points" for r in shown for i in range(each)]
    return contact_sheet(images, captions, title=title)


def _images(record: dict[str, Any]) -> list[np.ndarray]:
    """A photo; or a drawing, and the map that its points give."""
    if "points" not in record:
        return [record["image"]]
    points = pad_points([record["points"]])[0]
    return [record["image"][..., 0], np.asarray(edge_preserving_resize(points))]


def run_curves(run_dir: str) -> Figure:
    """Draws a run's curves."""
    metrics = read_metrics(run_dir)
    if not metrics:
        raise FileNotFoundError(
            f"{run_dir} holds no metrics; name the folder of a run of launch.train"
        )
    return training_curves(metrics)


def _given(flag: flags.FlagHolder) -> str:
    if flag.value is None:
        raise ValueError(f"--what={_WHAT.value} needs --{flag.name}")
    return flag.value


def main() -> None:
    """Draws what the flags name."""
    out = pathlib.Path(_OUT.value)
    command.new_file(_OUT.value)
    if _WHAT.value == "records":
        dataset = _given(_DATASET)
        figure = records_sheet(
            _DATA_DIR.value, dataset, _SPLIT.value, count=_COUNT.value, seed=_SEED.value
        )
    else:
        figure = run_curves(_given(_RUN_DIR))
    save_figure(figure, out)
    print(f"written to {out}")


if __name__ == "__main__":
    command.run(main)
