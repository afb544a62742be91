"""A network, data and a run small enough to be trained, killed and resumed within seconds.

As a script, `python -m tests.training.tiny RUN_DIR OUT.npz [SECONDS_PER_BATCH]` trains and writes the final parameters.
"""

import sys
import time

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.data.groups import collate
from dsf_jax.images import points as P
from dsf_jax.training.checkpoints import ModelCard
from dsf_jax.training.loop import TrainConfig, train

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

    @nn.compact
    def __call__(self, inputs, dropout_keys=None, start="input"):
        x = nn.relu(nn.Conv(4, (7, 7), 4, name="conv1")(inputs / 100)).reshape(len(inputs), -1)
        x = nn.relu(nn.Dense(16, name="fc7")(x))
        if dropout_keys is not None and self.dropout_rate:
            x *= jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (16,)))(dropout_keys)
        return nn.Dense(self.num_classes, name="fc8")(x), {"relu7": x}


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


def batches(seconds=0.0):
    """Endless batches of 6 drawings and 2 photos, a function of the step."""

    def read(step):
        time.sleep(seconds)
        rng = np.random.default_rng(step)
        drawings = [
            {"points": P._unique(rng.integers(0, P.CANVAS, (200, 2))), "label": i % 5}
            for i in range(6)
        ]
        photos = [
            {"photo": rng.integers(0, 256, (256, 256, 3)).astype(np.uint8), "label": 1}
            for _ in range(2)
        ]
        return {
            "drawings": collate(drawings, points_length=512),
            "photos": collate(photos, first=6),
        }

    return grain.MapDataset.range(1000).map(read)


def run(run_dir, seconds=0.0, config=CONFIG):
    return train(
        config,
        lambda params: batches(seconds),
        TinyCard(*CARD),
        start_params(),
        run_dir,
        total_examples=EXAMPLES,
        data=DATA,
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
