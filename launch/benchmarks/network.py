"""Rows of the network: a forward pass, and a step of training."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.data.batches import Batch
from dsf_jax.images.points import CANVAS
from dsf_jax.images.resize import SIZE
from dsf_jax.models.alexnet import AlexNet, Params, init_params, preprocess
from dsf_jax.training.parallel import data_parallel, replicate, split
from dsf_jax.training.step import TrainState, init_state, make_step, random_views
from launch.benchmarks.torch_network import SETTINGS, torch_networks
from launch.benchmarks.work import Setting, Work, checked, relative_difference

CLASSES = 250
SEED = 0
POINTS = 3400  # of a thinned 1111 x 1111 drawing
COMPARED_UPDATES = 8  # images
DROPOUT = AlexNet.dropout_rate
WANTED = 1.3


def alexnet(setting: Setting, *, dropout_rate: float = DROPOUT) -> AlexNet:
    """The network that is timed."""
    return AlexNet(CLASSES, dropout_rate=dropout_rate, dtype=jnp.dtype(setting.dtype))


@functools.cache
def parameters() -> Params:
    """Its start values."""
    return init_params(AlexNet(CLASSES), SEED)


def forward_flops(params: Params, batch_size: int) -> dict[str, float]:
    """Counts multiplications and additions of each layer's matrix product.

    Args:
      params: of the network.
      batch_size: b.

    Returns:
      {layer: operations}.
    """
    images = jax.ShapeDtypeStruct((batch_size, SIZE, SIZE, 3), jnp.float32)
    model = AlexNet(params["fc8"]["bias"].size)
    _, layers = jax.eval_shape(lambda p, x: model.apply({"params": p}, x), params, images)
    return {
        name: 2.0 * layers[name].size * math.prod(layer["kernel"].shape[:-1])
        for name, layer in params.items()
    }


def step_flops(params: Params, batch_size: int) -> float:
    """Counts a training step's: forward, and the gradients in kernels and, but for conv1, inputs."""
    layers = forward_flops(params, batch_size)
    return 3.0 * sum(layers.values()) - layers["conv1"]


def parameter_bytes(params: Params) -> float:
    """What reading all parameters moves."""
    return 4.0 * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def drawn_and_photographed(batch_size: int) -> Batch:
    """Makes a batch of as many drawings as photos, of noise.

    Args:
      batch_size: b; the odd one is a photo.

    Returns:
      The batch.
    """
    rng = np.random.default_rng(SEED)

    def group(first: int, content: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        count = len(next(iter(content.values())))
        return content | {
            "label": rng.integers(0, CLASSES, count, np.int32),
            "weight": np.ones(count, np.float32),
            "example": np.arange(first, first + count, dtype=np.int32),
        }

    drawings, photos = batch_size // 2, -(-batch_size // 2)
    points = rng.integers(0, CANVAS, (drawings, POINTS, 2), np.uint16)
    pixels = rng.integers(0, 256, (photos, 256, 256, 3), np.uint8)
    batch = {"photos": group(drawings, {"photo": pixels})}
    return ({"drawings": group(0, {"points": points})} if drawings else {}) | batch


def training(model: AlexNet, batch_size: int, params: Params) -> tuple[Any, TrainState, Batch]:
    """Binds a training step of all layers to this process's devices.

    Args:
      model: the network.
      batch_size: images a step, over all devices.
      params: start values.

    Returns:
      The step, its first state (which the step takes for its own) and a batch.
    """
    optimiser, step = make_step(model, SETTINGS, "all", seed=SEED, size=SIZE)
    state = init_state(jax.tree.map(jnp.copy, params), optimiser, "all")
    return data_parallel(step), replicate(state), split(drawn_and_photographed(batch_size))


def first_inputs(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Makes what the network sees in the first step on a batch: inputs [b, h, w, 3], labels [b]."""
    views = jax.jit(lambda batch: random_views(batch, SEED, jnp.int32(0), SIZE))(batch)
    labels = np.concatenate([group["label"] for _, group in sorted(batch.items())])
    return np.concatenate([preprocess(view) for view in views]), labels


class Stepper:
    """Steps on from the state of the last call, on one batch."""

    def __init__(self, step: Callable[..., Any], state: TrainState, batch: Batch) -> None:
        """Takes what `training` made."""
        self.step, self.state, self.batch = step, state, batch

    def __call__(self) -> None:
        """Takes a step and waits for it."""
        self.state, _ = self.step(self.state, self.batch)
        jax.block_until_ready(self.state)


def forward(setting: Setting) -> Iterator[Work]:
    """AlexNet's logits of a batch, without dropout."""
    params, model = parameters(), alexnet(setting)
    images, _ = first_inputs(drawn_and_photographed(setting.batch_size))
    call = jax.jit(lambda params, x: model.apply({"params": params}, x)[0])
    inputs = jnp.asarray(images)
    ours = np.asarray(call(params, inputs))
    calls, differences = {}, {}
    for name, network in torch_networks(setting, params, dropout_rate=0.0).items():
        calls[name] = functools.partial(network.logits, network.inputs(images))
        difference = relative_difference(ours, calls[name]())
        differences[name] = checked(difference, setting.kind("logits"), name)
    yield Work(
        "forward",
        lambda: call(params, inputs).block_until_ready(),
        setting.batch_size,
        "images",
        calls,
        differences,
        dict.fromkeys(calls, WANTED),
        flops=sum(forward_flops(params, setting.batch_size).values()),
        moved=parameter_bytes(params) + images.nbytes + ours.nbytes,
        dtype=setting.dtype,
    )


def train_step(setting: Setting) -> Iterator[Work]:
    """One step of training all layers; ours makes random views of points and photos as well."""
    params, batch_size = parameters(), setting.batch_size
    networks = torch_networks(setting, params, dropout_rate=0.0)
    calls: dict[str, Callable[[], Any]] = {}
    differences = {}
    if networks:
        size = min(batch_size, COMPARED_UPDATES)
        ours = _updates(alexnet(setting, dropout_rate=0.0), size, params)
        few, images = (first_inputs(drawn_and_photographed(n)) for n in (size, batch_size))
    for name, network in networks.items():
        network.step_on(*few)()
        theirs = _difference(network.exported(), params)
        difference = relative_difference(ours, theirs)
        differences[name] = checked(difference, setting.kind("updates"), name)
        network.dropout_rate = DROPOUT
        calls[name] = network.step_on(*images)
    yield Work(
        "train_step",
        Stepper(*training(alexnet(setting), batch_size, params)),
        batch_size,
        "images",
        calls,
        differences,
        dict.fromkeys(calls, WANTED),
        flops=step_flops(params, batch_size),
        # Parameters and momentum are read and written; gradients too, unless they never leave.
        moved=4 * parameter_bytes(params),
        dtype=setting.dtype,
    )


def _updates(model: AlexNet, batch_size: int, params: Params) -> Any:
    """What the first step adds to the parameters; without dropout, whose masks are each library's own."""
    step, state, batch = training(model, batch_size, params)
    return _difference(step(state, batch)[0].params, params)


def _difference(after: Any, before: Params) -> Any:
    return jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), after, before)
