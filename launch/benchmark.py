r"""Times this library's work beside the same work in other libraries, in one run.

python -m launch.benchmark --what=forward,train_step --peers --json=benchmark.json

That both compute the same is checked first. The calls that are compared take turns, so that
whatever else the machine does meets all of them; a ratio is one of medians. `--what=growth` shows
how a training step grows with the batch and with devices, and what it would take on a pod.
"""

import concurrent.futures
import functools
import importlib
import json
import math
import multiprocessing
import os
import pathlib
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from tqdm import tqdm

from dsf_jax.data.files import write_whole
from dsf_jax.data.groups import Batch
from dsf_jax.images.points import CANVAS
from dsf_jax.images.resize import SIZE
from dsf_jax.models.alexnet import (
    ARCHITECTURES,
    POOLED_BLOCKS,
    AlexNet,
    Params,
    init_params,
    preprocess,
)
from dsf_jax.training.optimiser import Optimisation
from dsf_jax.training.parallel import data_parallel, replicate, split
from dsf_jax.training.step import TrainState, init_state, make_step, random_views
from launch import command

CLASSES = 250
SEED = 0
POINTS = 3400  # of a thinned 1111 x 1111 drawing
MATRIX = 2048  # side of the square matrices whose product gives the machine's rate
SETTINGS = Optimisation(
    learning_rate=0.001,
    momentum=0.9,
    weight_decay=5e-4,
    fresh_multiplier=10.0,
    bias_multiplier=2.0,
    fresh_layers=("fc8",),
    schedule="constant",
    decay_every=1,
    decay_factor=1.0,
    warmup=0,
    steps=1,
)
# Relative, by norm. A maximum or ReLU that rounding decides the other way moves a convolution's
# whole gradient, the more often the more images there are: PyTorch's own float32 and float64
# gradients of 24 images are 2e-3 apart. Other work would be off by 0.5 and more.
TOLERANCE = {"logits": 1e-5, "updates": 2e-2}
COMPARED_UPDATES = 8  # images

GROWTH_BATCHES = (16, 32, 64, 128)
GROWTH_DEVICES = (1, 2, 4, 8)
POD_DEVICES = (1, 2, 4, 8, 16, 32, 64)
PHOTO_BYTES = 256 * 256 * 3

_WHAT = flags.DEFINE_list(
    "what", ["forward", "train_step"], "What to time: forward, train_step, growth."
)
_PEERS = flags.DEFINE_boolean("peers", False, "Whether PyTorch does the same work in turn.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images in a batch.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Timings of each call.", lower_bound=1)
_JSON = flags.DEFINE_string("json", None, "File that the results go to as well; never overwritten.")
_ETHERNET = flags.DEFINE_float(
    "ethernet_gb_s", 12.5, "Modelled pod: GB/s between hosts each way; 100 Gbit/s Ethernet."
)
_INTERCHIP = flags.DEFINE_float(
    "interchip_gb_s", 200.0,
    "Modelled pod: GB/s between chips; 1600 Gbit/s a chip, cloud.google.com/tpu/docs/v5e.",
)  # fmt: skip
_READING = flags.DEFINE_float(
    "reading_images_s", 2300.0,
    "Modelled pod: photos that a host reads and decodes in a second; 4 threads, BUILD_NOTES.md.",
)  # fmt: skip
_DEVICES_PER_HOST = flags.DEFINE_integer(
    "devices_per_host", 8, "Modelled pod: devices that share a host's reading.", lower_bound=1
)


class Work(NamedTuple):
    """One row before it is timed.

    Attributes:
      ours: does the work once and waits for it.
      peers: the same by library.
      differences: largest relative difference of a peer's results from ours, by library.
      images: that one call works on.
      flops: multiplications and additions in the matrix products of one call.
    """

    ours: Callable[[], Any]
    peers: Mapping[str, Callable[[], Any]]
    differences: Mapping[str, float]
    images: int
    flops: float


class Timing(NamedTuple):
    """Seconds a call takes."""

    median: float
    lowest: float
    highest: float


class Row(NamedTuple):
    """One row of the table.

    Attributes:
      what: the work.
      who: this library or another.
      seconds: a call takes.
      images_per_second: by the median.
      gflops: by the median.
      of_limit: share of the machine's matrix product rate.
      ratio: its median over ours; 1 for ours.
      difference: largest relative difference of its results from ours; None for ours.
    """

    what: str
    who: str
    seconds: Timing
    images_per_second: float
    gflops: float
    of_limit: float
    ratio: float
    difference: float | None


class Growth(NamedTuple):
    """A training step in a process of its own.

    Attributes:
      batch_size: images a step, over all devices.
      devices: virtual ones, which share the machine's cores.
      seconds: a step takes.
      images_per_second: by the median.
      peak_bytes: the process's largest resident set.
      temporary_bytes: what XLA plans for intermediate results, on each device.
    """

    batch_size: int
    devices: int
    seconds: Timing
    images_per_second: float
    peak_bytes: int
    temporary_bytes: int


class PodStep(NamedTuple):
    """A modelled step on n devices, with the same batch on each, in seconds.

    Attributes:
      devices: n.
      compute: as measured on this machine.
      reading: a host reads and decodes its devices' photos, beside the computation.
      ethernet: all-reduce of the gradients between hosts, after the computation.
      interchip: the same between chips.
      images_per_second_ethernet: of all devices.
      images_per_second_interchip: of all devices.
    """

    devices: int
    compute: float
    reading: float
    ethernet: float
    interchip: float
    images_per_second_ethernet: float
    images_per_second_interchip: float


def time_in_turn(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Timing]:
    """Times calls in turn, after each was called once to warm up.

    Args:
      calls: by name; each waits for its result.
      rounds: timings of each.

    Returns:
      Timings by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in tqdm(range(rounds + 1), desc="rounds", leave=False):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {
        name: Timing(statistics.median(each), min(each), max(each))
        for name, each in seconds.items()
    }


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


def training(
    batch_size: int, params: Params, *, dropout_rate: float
) -> tuple[Any, TrainState, Batch]:
    """Binds a training step of all layers to this process's devices.

    Args:
      batch_size: images a step, over all devices.
      params: start values.
      dropout_rate: of the network.

    Returns:
      The step, its first state (which the step takes for its own) and a batch.
    """
    model = AlexNet(CLASSES, dropout_rate=dropout_rate)
    optimiser, step = make_step(model, SETTINGS, "all", seed=SEED, size=SIZE)
    state = init_state(jax.tree.map(jnp.copy, params), optimiser, "all")
    return (
        data_parallel(step),
        replicate(state),
        split(drawn_and_photographed(batch_size)),
    )


def first_inputs(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Makes what the network sees in the first step on a batch: inputs [b, h, w, 3], labels [b]."""
    views = jax.jit(lambda batch: random_views(batch, SEED, jnp.int32(0), SIZE))(batch)
    labels = np.concatenate([group["label"] for _, group in sorted(batch.items())])
    return np.concatenate([preprocess(view) for view in views]), labels


# --- The peer: the same network in PyTorch ---


def import_peer(name: str) -> Any:
    """Imports a peer's library.

    Raises:
      ValueError: when it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"--peers needs {name}, which cannot be imported ({error}); install it, or leave --peers out"
        ) from error


class TorchNetwork:
    """Caffe's AlexNet in PyTorch on the CPU, with given parameters, in one memory layout."""

    def __init__(self, params: Params, *, layout: str, dropout_rate: float) -> None:
        """Takes parameters over; `layout` is "NCHW" or "NHWC"."""
        self.torch = import_peer("torch")
        self.torch.set_num_threads(len(os.sched_getaffinity(0)))
        self.channels_last, self.dropout_rate = layout == "NHWC", dropout_rate
        self.params = {
            (layer, name): self.tensor(self._theirs(np.array(value))).requires_grad_()
            for layer, values in params.items()
            for name, value in values.items()
        }

    @staticmethod
    def _theirs(x: np.ndarray) -> np.ndarray:
        """Kernels HWIO -> OIHW, or [inputs, outputs] -> [outputs, inputs]."""
        return x.transpose(3, 2, 0, 1) if x.ndim == 4 else x.T

    def tensor(self, x: np.ndarray) -> Any:
        """A tensor of NCHW order, in the layout."""
        tensor = self.torch.from_numpy(np.ascontiguousarray(x))
        last = self.channels_last and tensor.ndim == 4
        return tensor.contiguous(memory_format=self.torch.channels_last) if last else tensor

    def inputs(self, images: np.ndarray) -> Any:
        """[b, h, w, 3] as the network takes it."""
        return self.tensor(images.transpose(0, 3, 1, 2))

    def forward(self, x: Any, *, train: bool) -> Any:
        """Logits [b, k]."""
        functional = self.torch.nn.functional
        architecture = ARCHITECTURES["caffe"]
        for block, conv in enumerate(architecture.convs, start=1):
            kernel, bias = (self.params[f"conv{block}", name] for name in ("kernel", "bias"))
            x = functional.conv2d(x, kernel, bias, conv.stride, conv.padding, groups=conv.groups)
            x = functional.relu_(x)
            if block in architecture.normalised:
                x = functional.local_response_norm(x, 5, 1e-4, 0.75, 1.0)
            if block in POOLED_BLOCKS:
                x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        x = x.flatten(1)
        for layer in ("fc6", "fc7", "fc8"):
            x = functional.linear(x, self.params[layer, "kernel"], self.params[layer, "bias"])
            if layer != "fc8":
                x = functional.dropout(functional.relu_(x), self.dropout_rate, train)
        return x

    def _optimiser(self) -> Any:
        """SGD with SETTINGS: at a constant rate it is Caffe's."""
        groups = [
            {
                "params": [tensor],
                "lr": SETTINGS.learning_rate
                * (SETTINGS.fresh_multiplier if layer in SETTINGS.fresh_layers else 1.0)
                * (SETTINGS.bias_multiplier if name == "bias" else 1.0),
                "weight_decay": SETTINGS.weight_decay if name == "kernel" else 0.0,
            }
            for (layer, name), tensor in self.params.items()
        ]
        return self.torch.optim.SGD(groups, momentum=SETTINGS.momentum)

    def step_on(self, images: np.ndarray, labels: np.ndarray) -> Callable[[], None]:
        """Makes a step of training on images [b, h, w, 3] and labels [b]."""
        optimiser, x = self._optimiser(), self.inputs(images)
        classes = self.torch.from_numpy(labels).long()

        def step() -> None:
            optimiser.zero_grad()
            self.torch.nn.functional.cross_entropy(self.forward(x, train=True), classes).backward()
            optimiser.step()

        return step

    def exported(self) -> dict[str, dict[str, np.ndarray]]:
        """The parameters as ours are laid out."""
        out: dict[str, dict[str, np.ndarray]] = {}
        for (layer, name), tensor in self.params.items():
            value = tensor.detach().numpy()
            theirs = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
            out.setdefault(layer, {})[name] = theirs
        return out


TORCH_LAYOUTS = ("NCHW", "NHWC")


def relative_difference(ours: Any, theirs: Any) -> float:
    """Norm of the difference over our norm, the largest among a tree's leaves."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(
        float(np.linalg.norm(np.asarray(b) - np.asarray(a)) / np.linalg.norm(np.asarray(a)))
        for a, b in pairs
    )


def checked(difference: float, kind: str, who: str) -> float:
    """Passes on a difference within TOLERANCE.

    Raises:
      ValueError: when it is larger, or not a number.
    """
    if not difference <= TOLERANCE[kind]:
        raise ValueError(
            f"the {kind} of {who} differ from ours by {difference:.1e}, at most {TOLERANCE[kind]:.0e} "
            "is rounding; what would be timed is not the same work: mend one of the two first"
        )
    return difference


# --- Rows: each makes its work from the batch size and whether peers do it too ---


def forward(batch_size: int, peers: bool) -> Work:
    """AlexNet's logits of a batch, without dropout."""
    params = init_params(AlexNet(CLASSES), SEED)
    images, _ = first_inputs(drawn_and_photographed(batch_size))
    call = jax.jit(lambda params, x: AlexNet(CLASSES).apply({"params": params}, x)[0])
    inputs = jnp.asarray(images)
    ours = np.asarray(call(params, inputs))
    calls: dict[str, Callable[[], Any]] = {}
    differences = {}
    for layout in TORCH_LAYOUTS if peers else ():
        network = TorchNetwork(params, layout=layout, dropout_rate=0.0)
        name = f"PyTorch {layout}"
        calls[name] = functools.partial(_torch_logits, network, network.inputs(images))
        differences[name] = checked(relative_difference(ours, calls[name]()), "logits", name)
    return Work(
        lambda: call(params, inputs).block_until_ready(),
        calls,
        differences,
        batch_size,
        sum(forward_flops(params, batch_size).values()),
    )


def _torch_logits(network: TorchNetwork, x: Any) -> np.ndarray:
    with network.torch.no_grad():
        return network.forward(x, train=False).numpy()


def train_step(batch_size: int, peers: bool) -> Work:
    """One step of training all layers; ours makes random views of points and photos as well."""
    params = init_params(AlexNet(CLASSES), SEED)
    calls: dict[str, Callable[[], Any]] = {}
    differences = {}
    if peers:
        size = min(batch_size, COMPARED_UPDATES)
        ours = _updates(size, params)
        few, images = (first_inputs(drawn_and_photographed(n)) for n in (size, batch_size))
    for layout in TORCH_LAYOUTS if peers else ():
        name = f"PyTorch {layout}"
        network = TorchNetwork(params, layout=layout, dropout_rate=0.0)
        network.step_on(*few)()
        theirs = _difference(network.exported(), params)
        differences[name] = checked(relative_difference(ours, theirs), "updates", name)
        network.dropout_rate = AlexNet.dropout_rate
        calls[name] = network.step_on(*images)
    own = _Stepper(*training(batch_size, params, dropout_rate=AlexNet.dropout_rate))
    return Work(own, calls, differences, batch_size, step_flops(params, batch_size))


def _updates(batch_size: int, params: Params) -> Any:
    """What the first step adds to the parameters; without dropout, whose masks are each library's own."""
    step, state, batch = training(batch_size, params, dropout_rate=0.0)
    return _difference(step(state, batch)[0].params, params)


def _difference(after: Any, before: Params) -> Any:
    return jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), after, before)


class _Stepper:
    """Steps on from the state of the last call, on one batch."""

    def __init__(self, step: Callable[..., Any], state: TrainState, batch: Batch) -> None:
        self.step, self.state, self.batch = step, state, batch

    def __call__(self) -> None:
        self.state, _ = self.step(self.state, self.batch)
        jax.block_until_ready(self.state)


ROWS: dict[str, Callable[[int, bool], Work]] = {"forward": forward, "train_step": train_step}


def matrix_product() -> Callable[[], Any]:
    """Makes a call of the product of two square float32 matrices."""
    matrix = jnp.ones((MATRIX, MATRIX), jnp.float32)
    product = jax.jit(jnp.matmul)
    return lambda: product(matrix, matrix).block_until_ready()


def timed(what: str, work: Work, rounds: int) -> list[Row]:
    """Times a work's calls and the matrix product in turn.

    Args:
      what: name of the work.
      work: from one of ROWS.
      rounds: timings of each call.

    Returns:
      A row for ours and one a peer.
    """
    limit, own = "limit", "dsf_jax"
    calls = {limit: matrix_product(), own: work.ours, **work.peers}
    timings = time_in_turn(calls, rounds)
    rate = 2.0 * MATRIX**3 / timings.pop(limit).lowest
    return [
        Row(
            what,
            who,
            seconds,
            work.images / seconds.median,
            work.flops / seconds.median / 1e9,
            work.flops / seconds.median / rate,
            seconds.median / timings[own].median,
            work.differences.get(who),
        )
        for who, seconds in timings.items()
    ]


# --- Growth ---


def grown(batch_size: int, devices: int, rounds: int) -> Growth:
    """Times a training step in a fresh process, with as many virtual CPU devices as asked for.

    Args:
      batch_size: images a step, over all devices.
      devices: how many.
      rounds: timings.

    Returns:
      What it took.
    """
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn")
    ) as process:
        return process.submit(_grown_here, batch_size, devices, rounds).result()


def _grown_here(batch_size: int, devices: int, rounds: int) -> Growth:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    params = init_params(AlexNet(CLASSES), SEED)
    step, state, batch = training(batch_size, params, dropout_rate=AlexNet.dropout_rate)
    plan = step.lower(state, batch).compile().memory_analysis()
    seconds = time_in_turn({"step": _Stepper(step, state, batch)}, rounds)["step"]
    # Not getrusage's ru_maxrss, which starts from the parent's.
    status = pathlib.Path("/proc/self/status").read_text()
    peak = 1024 * int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0])
    return Growth(
        batch_size, devices, seconds, batch_size / seconds.median, peak, plan.temp_size_in_bytes
    )


def pod_step(
    devices: int,
    compute: float,
    batch_size: int,
    parameters: int,
    *,
    ethernet_gb_s: float,
    interchip_gb_s: float,
    reading_images_s: float,
    devices_per_host: int,
) -> PodStep:
    """Models a step of data-parallel training.

    A ring all-reduce sends 2 (n - 1) / n of the float32 gradients over each link, after the
    computation; reading goes on beside both.

    Args:
      devices: n.
      compute: seconds that one device takes for its batch.
      batch_size: images on each device.
      parameters: of the network.
      ethernet_gb_s: GB/s of a link between hosts.
      interchip_gb_s: GB/s of a link between chips.
      reading_images_s: photos a second that a host reads.
      devices_per_host: devices that share it.

    Returns:
      The modelled step.
    """
    gigabytes = 2 * (devices - 1) / devices * parameters * 4 / 1e9
    reading = batch_size * min(devices, devices_per_host) / reading_images_s
    ethernet, interchip = gigabytes / ethernet_gb_s, gigabytes / interchip_gb_s
    images = devices * batch_size
    return PodStep(
        devices,
        compute,
        reading,
        ethernet,
        interchip,
        images / max(compute + ethernet, reading),
        images / max(compute + interchip, reading),
    )


def growth(batch_size: int, rounds: int) -> tuple[list[Growth], list[PodStep]]:
    """Grows a training step with the batch and with devices, and models it on a pod.

    Args:
      batch_size: while devices are varied, and on each device of the pod.
      rounds: timings.

    Returns:
      Measured steps, each setting once, and modelled ones.
    """
    settings = [*((size, 1) for size in GROWTH_BATCHES), *((batch_size, n) for n in GROWTH_DEVICES)]
    measured = [
        grown(size, devices, rounds)
        for size, devices in tqdm(list(dict.fromkeys(settings)), desc="growth")
    ]
    (compute,) = (
        g.seconds.median for g in measured if (g.batch_size, g.devices) == (batch_size, 1)
    )
    shapes = jax.eval_shape(lambda: init_params(AlexNet(CLASSES), SEED))
    model = functools.partial(
        pod_step,
        compute=compute,
        batch_size=batch_size,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(shapes)),
        ethernet_gb_s=_ETHERNET.value,
        interchip_gb_s=_INTERCHIP.value,
        reading_images_s=_READING.value,
        devices_per_host=_DEVICES_PER_HOST.value,
    )
    return measured, [model(devices) for devices in POD_DEVICES]


# --- What is printed ---


def machine() -> dict[str, Any]:
    """Describes where the figures hold."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "load_average": os.getloadavg()[0],
    }


def _processor() -> str:
    names = re.findall(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return names[0] if names else platform.machine()


def markdown(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Lays out a Markdown table."""
    return "\n".join(
        f"| {' | '.join(cells)} |" for cells in (titles, ["---"] * len(titles), *lines)
    )


def _spread(seconds: Timing) -> str:
    return f"{seconds.median:.3f} ({seconds.lowest:.3f} to {seconds.highest:.3f})"


def rows_table(rows: Sequence[Row]) -> str:
    """The comparison as Markdown."""
    titles = ("what", "who", "seconds", "images/s", "GFLOP/s", "of the matrix product's rate",
              "time over ours", "difference")  # fmt: skip
    return markdown(
        titles,
        [
            (row.what, row.who, _spread(row.seconds), f"{row.images_per_second:.1f}",
             f"{row.gflops:.0f}", f"{row.of_limit:.0%}", f"{row.ratio:.2f}",
             "" if row.difference is None else f"{row.difference:.0e}")
            for row in rows
        ],
    )  # fmt: skip


def growth_tables(measured: Sequence[Growth], pod: Sequence[PodStep]) -> str:
    """The measured and the modelled steps as Markdown."""
    here = markdown(
        ("batch", "virtual devices", "seconds", "images/s", "peak memory, GB",
         "temporary a device, GB"),
        [
            (str(g.batch_size), str(g.devices), _spread(g.seconds), f"{g.images_per_second:.1f}",
             f"{g.peak_bytes / 1e9:.2f}", f"{g.temporary_bytes / 1e9:.2f}")
            for g in measured
        ],
    )  # fmt: skip
    there = markdown(
        ("devices", "compute, s", "reading, s", "all-reduce by Ethernet, s",
         "all-reduce between chips, s", "images/s, Ethernet", "images/s, chips"),
        [
            (str(p.devices), f"{p.compute:.3f}", f"{p.reading:.3f}", f"{p.ethernet:.4f}",
             f"{p.interchip:.4f}", f"{p.images_per_second_ethernet:.0f}",
             f"{p.images_per_second_interchip:.0f}")
            for p in pod
        ],
    )  # fmt: skip
    assumed = "\n".join(
        f"--{flag.name}={flag.value}: {flags.FLAGS[flag.name].help}"
        for flag in (_ETHERNET, _INTERCHIP, _READING, _DEVICES_PER_HOST)
    )
    return f"{here}\n\n{there}\n\n{assumed}"


def main() -> None:
    """Benchmarks as the flags say."""
    out = command.new_file(_JSON.value)
    known = [*ROWS, "growth"]
    for what in _WHAT.value:
        if what not in known:
            raise ValueError(f"--what={what} is unknown; choose from {', '.join(known)}")
    if _PEERS.value:
        import_peer("torch")
    if _PEERS.value and jax.default_backend() != "cpu":
        raise ValueError(
            f"peers run on the CPU and we on {jax.default_backend()}; set JAX_PLATFORMS=cpu, or leave --peers out"
        )
    results: dict[str, Any] = {"machine": machine(), "batch_size": _BATCH_SIZE.value}
    print(json.dumps(results))
    rows = [
        row
        for what in _WHAT.value
        if what in ROWS
        for row in timed(what, ROWS[what](_BATCH_SIZE.value, _PEERS.value), _ROUNDS.value)
    ]
    if rows:
        results["rows"] = [_record(row) for row in rows]
        print(f"\n{rows_table(rows)}")
    if "growth" in _WHAT.value:
        measured, pod = growth(_BATCH_SIZE.value, _ROUNDS.value)
        results["growth"] = [_record(g) for g in measured]
        results["pod"] = [_record(p) for p in pod]
        print(f"\n{growth_tables(measured, pod)}")
    if out:
        write_whole(out, json.dumps(results, indent=1) + "\n")


def _record(result: Any) -> dict[str, Any]:
    """A result as JSON keeps it, its timing by name."""
    return {
        name: value._asdict() if isinstance(value, Timing) else value
        for name, value in result._asdict().items()
    }


if __name__ == "__main__":
    command.run(main)
