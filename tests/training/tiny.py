"""A network, data and a run small enough to be trained, killed and resumed within seconds.

As a script, `python -m tests.training.tiny RUN_DIR OUT.npz [SECONDS_PER_BATCH]` trains and writes the final parameters.
"""

import sys
import time
from typing import Any

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.data.batches import collate, pad_group
from dsf_jax.images import points as P
from dsf_jax.training.checkpoints import ModelCard
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.loop import train

SIZE = 35
CLASSES = ("ant", "bee", "cat", "dog", "elk")
CARD = ModelCard("caffe", CLASSES, SIZE, ("fc8",))
CONFIG = TrainConfig(epochs=4, batch_size=8, save_every=5, log_every=3)
DATA = ("sketches from nowhere",)
EXAMPLES = 40  # 20 steps


class TinyNet(nn.Module):
    """Has what training needs of AlexNet: a variant, named layers and dropout by key."""

    num_classes: int = len(CLASSES)
    variant: str = "caffe"
    dropout_rate: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs, dropout_keys=None, start="input"):
        x = (inputs / 100).astype(self.dtype)
        x = nn.relu(nn.Conv(4, (7, 7), 4, dtype=self.dtype, name="conv1")(x))
        x = nn.relu(nn.Dense(16, dtype=self.dtype, name="fc7")(x.reshape(len(x), -1)))
        if dropout_keys is not None and self.dropout_rate:
            x *= jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (16,)))(dropout_keys)
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="fc8")(x)
        return x.astype(jnp.float32), {}


class TinyCard(ModelCard):
    """A card whose network is tiny."""

    def network(self, **options):
        return TinyNet(len(self.class_names), **options)

    def _replace(self, **changes):
        return TinyCard(**(self._asdict() | changes))


def start_params(size=SIZE):
    return jax.device_get(
        TinyNet().init(jax.random.key(0), jnp.zeros((1, size, size, 3)))["params"]
    )


def drawings(count, seed=0):
    """A group of random dots; label i % 5."""
    rng = np.random.default_rng(seed)
    examples = [
        {"points": P._unique(rng.integers(0, P.CANVAS, (200, 2))), "label": i % 5}
        for i in range(count)
    ]
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
        {"drawings": pad_group(drawings(11, 5000), 16)},
        {"photos": pad_group(photos(3, 5000), 16)},
    ]
    return grain.MapDataset.range(2).map(lambda number: listed[number])


def run(run_dir, seconds=0.0, config=CONFIG, **options):
    return train(
        config,
        lambda params: batches(seconds),
        TinyCard(*CARD),
        start_params(),
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
        np.savez(sys.argv[2], **flat(result.state.params))
