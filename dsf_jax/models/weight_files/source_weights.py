"""The content of a weight file of any format: arrays by layer, under the file's own names."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

# AlexNet is 244 MB in float32, 488 in float64: a gibibyte leaves room for either.
MAX_BYTES = 1 << 30
MAX_ARRAYS = 1000

Layers = dict[str, dict[str, np.ndarray]]
Architecture = Literal[
    "caffe",
    "caffenet",
    "torchvision",
    "efficientnet-lite0",
    "efficientnet-lite1",
    "efficientnet-lite2",
]

# What shows the architecture in files that do not name it: the outputs of their first convolution.
FIRST_LAYER = "conv1"
ARCHITECTURE_OF_OUTPUTS: dict[int, Architecture] = {96: "caffe", 64: "torchvision"}

# What other frameworks call a layer's arrays.
LEAVES = {
    "weights": "kernel",
    "weight": "kernel",
    "biases": "bias",
    "running_mean": "mean",
    "running_var": "variance",
}


@dataclasses.dataclass(frozen=True)
class SourceWeights:
    """The content of one weight file, in the file's own names and memory layout.

    Attributes:
        path: the file.
        architecture: the network the weights belong to; None where the file does not show it.
        kernel_layout: "oihw": convolutions [O, I/groups, H, W], fc [O, I]; "hwio": convolutions
            [H, W, I/groups, O], fc [I, O].
        row_order: order in which the first fully connected layer reads the maps below it. The
            format decides it, not the file: where a converter did otherwise, correct it with
            `dataclasses.replace`.
        layers: {layer: {"kernel" or "bias": float32 array}}; a third and later blob of a Caffe
            layer is called "blob2", ...; a batch norm of torch has "mean" and "variance" as well,
            and its factor for kernel.
    """

    path: Path
    architecture: Architecture | None
    kernel_layout: Literal["oihw", "hwio"]
    row_order: Literal["chw", "hwc"]
    layers: Layers


def collect(arrays: Iterable[tuple[str, str, np.ndarray]]) -> Layers:
    """Gathers arrays into layers, checking every number.

    Args:
        arrays: (layer, "kernel", "bias" or the like, array of floats) of every array in the file.

    Returns:
        {layer: {"kernel" or "bias": float32 array}}, C-contiguous and finite.

    Raises:
        ValueError: there is no array, too many or too large ones, the same one twice, or a
            non-finite value.
    """
    layers: Layers = {}
    total = 0
    for count, (layer, leaf, array) in enumerate(arrays, start=1):
        total += 4 * array.size
        if count > MAX_ARRAYS or total > MAX_BYTES:
            raise ValueError(
                f"over {MAX_ARRAYS} arrays or {MAX_BYTES} bytes of them (at layer {layer})"
            )
        if leaf in layers.setdefault(layer, {}):
            raise ValueError(f"layer {layer}: {leaf} is there twice")
        with np.errstate(over="ignore"):  # An overflowing float64 becomes infinite: caught below.
            array = np.array(array, dtype=np.float32, order="C")
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            raise ValueError(f"layer {layer}: {leaf} holds {bad} non-finite of {array.size} values")
        layers[layer][leaf] = array
    if not layers:
        raise ValueError("it holds no weights")
    return layers


def leaf_names(count: int) -> list[str]:
    """Names a layer's arrays by their position: "kernel", "bias", "blob2", ..."""
    return ["kernel", "bias", *(f"blob{i}" for i in range(2, count))][:count]
