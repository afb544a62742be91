"""Rows of the network: a forward pass, and a step of training."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.data.batches import Batch, TrainingBatch
from dsf_jax.images.points import CANVAS
from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.backbone import Params
from dsf_jax.models.model import Model, ModelConfig, init_model
from dsf_jax.training.losses import loss_named
from dsf_jax.training.optimiser import make_optimiser
from dsf_jax.training.parallel import data_parallel, replicate, split
from dsf_jax.training.step import (
    StepConfig,
    TrainState,
    init_state,
    random_views,
)
from dsf_jax.training.step import (
    train_step as step_of,
)
from launch.benchmarks.torch_network import SGD, TorchNetwork, torch_networks
from launch.benchmarks.work import Setting, Work, checked, relative_difference

CLASSES = tuple(f"class {i}" for i in range(250))
SEED = 0
POINTS = 3400  # of a thinned 1111 x 1111 drawing
COMPARED_UPDATES = 8  # images
DROPOUT = 0.5


@functools.cache
def start_model() -> Model:
    """The network that is timed, with its start values."""
    return init_model(ModelConfig(CAFFE.name, CLASSES, CAFFE.size, SGD.fresh_layers), SEED)


def alexnet(setting: Setting) -> Model:
    """The same, computing as the setting says."""
    return start_model().replace(dtype=jnp.dtype(setting.dtype))


def forward_flops(model: Model, batch_size: int) -> dict[str, float]:
    """Counts multiplications and additions of each layer's matrix product.

    Args:
      model: the network; its layers are named as the activations are that they give.
      batch_size: b.

    Returns:
      {layer: operations}.
    """
    shapes = model.activation_shapes()
    return {
        name: 2.0 * batch_size * math.prod((*shapes[name], *layer["kernel"].shape[:-1]))
        for name, layer in model.params.items()
    }


def step_flops(model: Model, layers: Mapping[str, float]) -> float:
    """Counts a training step's: forward, `layers`, and the gradients in kernels and, but for the first
    layer, inputs.
    """
    return 3.0 * sum(layers.values()) - layers[model.backbone.layers[0]]


def parameter_bytes(model: Model) -> float:
    """What reading all parameters moves."""
    return 4.0 * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(model.params))


def drawn_and_photographed(batch_size: int) -> TrainingBatch:
    """Makes a batch of as many drawings as photos, of noise.

    Args:
      batch_size: b; the odd one is a photo.

    Returns:
      The batch.
    """
    rng = np.random.default_rng(SEED)

    def kind(first: int, content: Batch) -> Batch:
        count = len(next(iter(content.values())))
        return content | {
            "label": rng.integers(0, len(CLASSES), count, np.int32),
            "weight": np.ones(count, np.float32),
            "example": np.arange(first, first + count, dtype=np.int32),
        }

    drawings, photos = batch_size // 2, -(-batch_size // 2)
    points = rng.integers(0, CANVAS, (drawings, POINTS, 2), np.uint16)
    pixels = rng.integers(0, 256, (photos, 256, 256, 3), np.uint8)
    batch = {"photos": kind(drawings, {"photo": pixels})}
    return ({"drawings": kind(0, {"points": points})} if drawings else {}) | batch


def training(
    model: Model, batch_size: int, *, dropout_rate: float = DROPOUT
) -> tuple[Any, TrainState, TrainingBatch]:
    """Binds a training step of all layers to this process's devices.

    Args:
      model: network with its start values.
      batch_size: images per step, over all devices.
      dropout_rate: probability of dropping a value.

    Returns:
      The step, its first state (which the step takes for its own) and a batch.
    """
    config = StepConfig(
        make_optimiser(SGD._replace(fresh_layers=model.config.fresh_layers)),
        loss_named("softmax"),
        model.backbone.learning("all"),
        dropout_rate,
        SEED,
    )
    step = functools.partial(step_of, config=config)
    state = init_state(jax.tree.map(jnp.copy, model), config)
    return data_parallel(step), replicate(state), split(drawn_and_photographed(batch_size))


def first_inputs(model: Model, batch: TrainingBatch) -> tuple[np.ndarray, np.ndarray]:
    """Makes what the network sees in the first step on a batch: inputs [b, h, w, 3], labels [b]."""
    views = jax.jit(lambda batch: random_views(model, batch, SEED, jnp.int32(0)))(batch)
    labels = np.concatenate([one["label"] for _, one in sorted(batch.items())])
    return np.asarray(model.backbone.inputs(views)), labels


class Stepper:
    """Steps on from the state of the last call, on one batch."""

    def __init__(self, step: Callable[..., Any], state: TrainState, batch: TrainingBatch) -> None:
        """Takes what `training` made."""
        self.step, self.state, self.batch = step, state, batch

    def __call__(self) -> None:
        """Takes a step and waits for it."""
        self.state, _ = self.step(self.state, self.batch)
        jax.block_until_ready(self.state)


def forward(setting: Setting) -> Iterator[Work]:
    """AlexNet's logits of a batch, without dropout."""
    model = alexnet(setting)
    flops = forward_flops(model, setting.batch_size)
    yield forward_work("forward", model, flops, setting)


def train_step(setting: Setting) -> Iterator[Work]:
    """One step of training all layers; ours makes random views of points and photos as well."""
    model = alexnet(setting)
    flops = forward_flops(model, setting.batch_size)
    yield step_work("train_step", model, flops, setting)


def forward_work(
    what: str,
    model: Model,
    flops: Mapping[str, float],
    setting: Setting,
    peer: type[TorchNetwork] = TorchNetwork,
) -> Work:
    """Makes the row of a network's logits of a batch, without dropout.

    Args:
      what: name of the row.
      model: the network.
      flops: operations of its layers for a batch.
      setting: how the row is run.
      peer: the network in PyTorch.
    """
    images, _ = first_inputs(model, drawn_and_photographed(setting.batch_size))
    call = jax.jit(lambda model, x: model.infer(x)[0])
    inputs = jnp.asarray(images)
    ours = np.asarray(call(model, inputs))
    calls, differences = {}, {}
    for name, network in torch_networks(setting, model, dropout_rate=0.0, peer=peer).items():
        calls[name] = functools.partial(network.logits, network.inputs(images))
        difference = relative_difference(ours, calls[name]())
        differences[name] = checked(difference, setting.kind("logits"), name)
    return Work(
        what,
        lambda: call(model, inputs).block_until_ready(),
        setting.batch_size,
        "images",
        calls,
        differences,
        flops=sum(flops.values()),
        moved=parameter_bytes(model) + images.nbytes + ours.nbytes,
        dtype=setting.dtype,
    )


def step_work(
    what: str,
    model: Model,
    flops: Mapping[str, float],
    setting: Setting,
    peer: type[TorchNetwork] = TorchNetwork,
) -> Work:
    """Makes the row of a training step of a network, see `forward_work`."""
    batch_size = setting.batch_size
    networks = torch_networks(setting, model, dropout_rate=0.0, peer=peer)
    calls: dict[str, Callable[[], Any]] = {}
    differences = {}
    if networks:
        size = min(batch_size, COMPARED_UPDATES)
        ours = _updates(model, size)
        few, images = (first_inputs(model, drawn_and_photographed(n)) for n in (size, batch_size))
    for name, network in networks.items():
        network.step_on(*few)()
        theirs = _difference(network.exported(), model.params)
        difference = relative_difference(ours, theirs)
        differences[name] = checked(difference, setting.kind("updates"), name)
        network.dropout_rate = DROPOUT
        calls[name] = network.step_on(*images)
    return Work(
        what,
        Stepper(*training(model, batch_size)),
        batch_size,
        "images",
        calls,
        differences,
        flops=step_flops(model, flops),
        # Parameters and momentum are read and written; gradients too, unless they never leave.
        moved=4 * parameter_bytes(model),
        dtype=setting.dtype,
    )


def _updates(model: Model, batch_size: int) -> Any:
    """What the first step adds to the parameters; without dropout, whose masks are each library's own."""
    step, state, batch = training(model, batch_size, dropout_rate=0.0)
    return _difference(step(state, batch)[0].model.params, model.params)


def _difference(after: Any, before: Params) -> Any:
    return jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), after, before)
