"""What one looks at before anything is evaluated: records of a data set, the curves of a run."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dsf_jax.data.records import Records
from dsf_jax.images.points import pad_points
from dsf_jax.images.resize import edge_preserving_resize
from dsf_jax.insight.plots import contact_sheet, training_curves
from dsf_jax.training.metrics_log import read_metrics


def records_sheet(records: Records, *, count: int, seed: int) -> Figure:
    """Draws randomly chosen records, in order: photos; or drawings, each next to the map that its points
    give.

    Args:
      records: the data set.
      count: number of records.
      seed: seed of the choice.

    Returns:
      The figure.
    """
    chosen = np.random.default_rng(seed).permutation(len(records))[:count]
    shown = [records[int(i)] for i in sorted(chosen)]
    title = f"{records.name} [{records.split}]: {len(shown)} of {len(records)} records"
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
    """Draws the loss and accuracy of a run.

    Args:
      run_dir: folder of the run.

    Returns:
      The figure.

    Raises:
      FileNotFoundError: the folder holds no metrics.
    """
    metrics = read_metrics(run_dir)
    if not metrics:
        raise FileNotFoundError(
            f"{run_dir} holds no metrics; name the folder of a run of launch.train"
        )
    return training_curves(metrics)
