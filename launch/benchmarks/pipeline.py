"""Row of the input pipeline: reading batches, against the training step that they feed."""

import pathlib
from collections.abc import Iterator

from launch.benchmarks.network import Stepper, alexnet, training
from launch.benchmarks.work import Setting, Work

BATCHES = 8  # read in one call, by as many threads as training has


def pipeline(setting: Setting) -> Iterator[Work]:
    """Batches of drawings' points and decoded photos, read from prepared records.

    Raises:
      FileNotFoundError: without records.
      ImportError: without the libraries that read them.
    """
    from dsf_jax.data.datasets import open_mixture
    from dsf_jax.data.records import list_datasets
    from dsf_jax.data.training_batches import prefetch, training_batches  # grain, TFDS

    datasets = list(list_datasets(pathlib.Path(setting.data_dir)))
    if not datasets:
        raise FileNotFoundError(
            f"no prepared records in {setting.data_dir}; `make quickstart` makes some, or name a folder with --data_dir"
        )
    mixture = open_mixture(setting.data_dir, datasets, split="train", mixture="S+I")
    batches = training_batches(mixture, batch_size=setting.batch_size, seed=0)

    def read() -> int:
        return sum(1 for _ in prefetch(batches, 0, BATCHES))

    step = Stepper(*training(alexnet(setting), setting.batch_size))
    (sample,) = prefetch(batches, 0, 1)
    moved = sum(x.nbytes for one in sample.values() for x in one.values())
    yield Work(
        "pipeline",
        read,
        BATCHES * setting.batch_size,
        "images",
        {"the training step": step},
        repeats={"the training step": BATCHES},
        moved=float(BATCHES * moved),
    )
