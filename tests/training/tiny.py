"""A network, data and a run small enough to be trained, killed and resumed within seconds.

As a script, `python -m tests.training.tiny RUN_DIR OUT.npz [SECONDS_PER_BATCH]` trains and writes the final parameters.
"""

import sys
import time

import grain
import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.data.batches import collate, pad_batch
from dsf_jax.models.model import Model, ModelConfig
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.loop import train
from tests.backbones import TinyNet
from tests.images.drawn import random_points

SIZE = 35
CLASSES = ("ant", "bee", "cat", "dog", "elk")
CONFIG = ModelConfig("tiny", CLASSES, SIZE, ("fc8",))
TRAINING = TrainConfig(epochs=4, batch_size=8, save_every=5, log_every=3)
DATA = ("sketches from nowhere",)
EXAMPLES = 40  # 20 steps


def start_model(size=SIZE, **changes):
    """A model of random values; `changes` are fields of its configuration."""
    config = CONFIG._replace(size=size, **changes)
    module = TinyNet(len(config.class_names))
    return Model(
        jax.device_get(module.init(jax.random.key(0), jnp.zeros((1, size, size, 3)))["params"]),
        config,
    )


def drawings(count, seed=0):
    """A group of random dots; label i % 5."""
    rng = np.random.default_rng(seed)
    examples = [{"points": random_points(rng, 200), "label": i % 5} for i in range(count)]
    return collate(examples, points_length=512)


def photos(count, seed=0, first=0):
    """A group of random pixels; label 1."""
    rng = np.random.default_rng([seed, 1])
    examples = [
        {"photo": rng.integers(0, 256, (256, 256, 3)).astype(np.uint8), "label": 1}
        for _ in range(count)
    ]
    return collate(examples, first=first)


def batches(seconds=0.0):
    """Endless batches of 6 drawings and 2 photos, a function of the step."""

    def read(step):
        time.sleep(seconds)
        return {"drawings": drawings(6, step), "photos": photos(2, step, first=6)}

    return grain.MapDataset.range(1000).map(read)


def held_out():
    """Two batches: 11 drawings and padding; 3 photos and padding."""
    listed = [
        {"drawings": pad_batch(drawings(11, 5000), 16)},
        {"photos": pad_batch(photos(3, 5000), 16)},
    ]
    return grain.MapDataset.range(2).map(lambda number: listed[number])


def run(run_dir, seconds=0.0, config=TRAINING, **options):
    return train(
        config,
        lambda model: batches(seconds),
        start_model(),
        run_dir,
        total_examples=EXAMPLES,
        data=DATA,
        **options,
    )


def flat(params):
    return {
        "/".join(str(k.key) for k in path): np.asarray(x)
        for path, x in jax.tree_util.tree_leaves_with_path(params)
    }


if __name__ == "__main__":
    result = run(sys.argv[1], float(sys.argv[3]) if len(sys.argv) > 3 else 0.0)
    if result.finished:
        np.savez(sys.argv[2], **flat(result.state.model.params))
