r"""Trains AlexNet on prepared data sets; run the same command again to go on where it stopped.

python -m launch.train --data_dir=data --init=runs/ported --run_dir=runs/emoji \\
    --datasets=openmoji/sketch,openmoji/photo,openmoji/edge --mixture=S+I+E
"""

import pathlib
from collections.abc import Sequence
from typing import get_args

import grain
import jax
from absl import flags

from dsf_jax.data.batches import training_batches
from dsf_jax.data.mixtures import MIXTURES, Mixture, domains_of, drawing_fields, mix
from dsf_jax.data.records import open_records
from dsf_jax.models.alexnet import LAYERS, Params, Variant, init_params
from dsf_jax.training.checkpoints import ModelCard, load_model, with_classes
from dsf_jax.training.frozen import cached_batches
from dsf_jax.training.loop import Result, TrainConfig, train
from launch import command

RANDOM = "random"

command.define_flags(TrainConfig)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of prepared records.")
_DATASETS = flags.DEFINE_list(
    "datasets", None, "Prepared data sets, each of one domain: openmoji/sketch,openmoji/photo.",
    required=True,
)  # fmt: skip
_SPLIT = flags.DEFINE_string("split", "train", "Split of the data sets to train on.")
_MIXTURE = flags.DEFINE_enum(
    "mixture", "S+I+E", list(MIXTURES), "Domains to train on: S sketches, I photos, E edge maps."
)
_INIT = flags.DEFINE_string(
    "init", None, f"Checkpoint to start from (see launch.port_weights), or {RANDOM}.", required=True
)
_VARIANT = flags.DEFINE_enum(
    "variant", "caffe", get_args(Variant), f"Which AlexNet, with --init={RANDOM}."
)
_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Folder of the run: checkpoints, metrics, configuration.", required=True
)


def open_mixture(data_dir: str, datasets: Sequence[str], split: str, mixture: str) -> Mixture:
    """Opens those of the data sets whose domain the mixture has.

    Args:
      data_dir: of prepared records.
      datasets: names, each of one domain.
      split: of all of them.
      mixture: a name of `MIXTURES`.

    Returns:
      The mixture.

    Raises:
      ValueError: when a domain of the mixture has no data set.
    """
    wanted = domains_of(mixture)
    domains = {
        name: open_records(data_dir, name, split, fields=("domain",)).domain for name in datasets
    }
    if missing := [domain for domain in wanted if domain not in domains.values()]:
        raise ValueError(
            f"mixture {mixture} needs the domain {' and '.join(missing)}, but "
            f"{', '.join(datasets)} have {', '.join(sorted(set(domains.values())))}; "
            "add a data set or choose another mixture"
        )
    return mix(
        [
            open_records(data_dir, name, split, fields=drawing_fields(domain))
            for name, domain in domains.items()
            if domain in wanted
        ]
    )


def starting_point(
    init: str, variant: str, class_names: tuple[str, ...], seed: int
) -> tuple[ModelCard, Params]:
    """Reads or draws the start values for a list of classes."""
    if init == RANDOM:
        card = ModelCard(variant, class_names, 227, LAYERS)
        return card, init_params(card.network(), seed, size=card.size)
    card, params = load_model(init)
    return with_classes(card, params, class_names, seed=seed)


def train_on(
    config: TrainConfig, mixture: Mixture, card: ModelCard, params: Params, run_dir: pathlib.Path
) -> Result:
    """Trains on a mixture, with cached convolutions where the configuration asks for them."""

    def make_batches() -> grain.MapDataset:
        if not config.cached_views:
            return training_batches(mixture, batch_size=config.batch_size, seed=config.seed)
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
    return train(config, make_batches, card, params, run_dir, total_examples=total)


def main() -> None:
    """Trains as the flags say."""
    config = command.config_from_flags(TrainConfig)
    mixture = open_mixture(_DATA_DIR.value, _DATASETS.value, _SPLIT.value, _MIXTURE.value)
    print(mixture)
    card, params = starting_point(_INIT.value, _VARIANT.value, mixture.class_names, config.seed)
    print(f"{card.variant} AlexNet on {jax.device_count()} {jax.default_backend()} device(s)")
    result = train_on(config, mixture, card, params, pathlib.Path(_RUN_DIR.value))
    done = "trained" if result.finished else "stopped by a signal; run the same command to go on"
    print(f"step {int(result.state.step)}: {done}, saved in {_RUN_DIR.value}")


if __name__ == "__main__":
    command.run(main)
