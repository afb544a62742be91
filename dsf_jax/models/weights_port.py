"""Moves weights read from a file into a model: every name accounted for.

Works on shapes and runs no network. A layer is loaded completely or not at all: a trained bias on a
random kernel is worse than neither. Which names a layer has in files is data of the backbone.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from dsf_jax.models.backbone import Backbone
from dsf_jax.models.backbones import BACKBONES
from dsf_jax.models.model import Model
from dsf_jax.models.weight_files.efficientnet_lite import LAST_CONVOLUTION, NETWORKS
from dsf_jax.models.weight_files.source_weights import (
    ARCHITECTURE_OF_OUTPUTS,
    FIRST_LAYER,
    SourceWeights,
)

_Shapes = dict[str, dict[str, tuple[int, ...]]]


@dataclasses.dataclass(frozen=True)
class PortReport:
    """What became of every layer; `str` gives one line per layer.

    Attributes:
      source: the weight file.
      backbone: name of the backbone that it was ported to.
      loaded: {layer: its name in the file}.
      random: {layer that kept the model's values: why}.
    """

    source: Path
    backbone: str
    loaded: Mapping[str, str]
    random: Mapping[str, str]

    def __str__(self) -> str:
        """Lists the layers in order, loaded ones first."""
        total = len(self.loaded) + len(self.random)
        width = max(map(len, (*self.loaded, *self.random)))
        lines = [f"{self.source} -> {self.backbone}: {len(self.loaded)} of {total} layers loaded"]
        lines += [f"  {layer:<{width}}  loaded from {name}" for layer, name in self.loaded.items()]
        lines += [f"  {layer:<{width}}  random: {why}" for layer, why in self.random.items()]
        return "\n".join(lines)


def port_weights(
    source: SourceWeights, model: Model, *, partial: bool = False
) -> tuple[Model, PortReport]:
    """Loads a file's weights into a model.

    Args:
      source: weights from `dsf_jax.models.weight_files.reading.read_weights`.
      model: model with any values; its parameters may be arrays or `jax.ShapeDtypeStruct`.
      partial: whether layers may be missing that the file lacks or holds only in part; they keep the
        model's values.

    Returns:
      The model, with float32 NumPy arrays where loaded and its own leaves elsewhere, which are its
      fresh layers; and the report.

    Raises:
      ValueError: for a backbone of which no weight files are read; a file of another architecture; a
        missing, unknown or wrong-shape entry (all of them in one message).
    """
    backbone = model.backbone
    shapes = _shapes(model)
    _check_architecture(source, backbone)
    port = _Port(source, shapes, backbone, partial)
    for layer in shapes:
        port.take(layer)
    port.check()
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: port.arrays.get((path[0].key, path[1].key), leaf), model.params
    )
    config = model.config._replace(fresh_layers=tuple(port.random))
    report = PortReport(source.path, backbone.name, port.loaded, port.random)
    return model.replace(params=params, config=config), report


def _shapes(model: Model) -> _Shapes:
    """Reads {layer: {leaf: shape}} off a model, in the order of the network."""
    names = model.backbone.weight_names
    if not names:
        raise ValueError(
            f"no weight files of {model.backbone.title} (backbone {model.backbone.name}) are read; "
            "choose one of "
            f"{', '.join(name for name, known in BACKBONES.items() if known.weight_names)}"
        )
    found: _Shapes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.params):
        keys = [str(getattr(entry, "key", "")) for entry in path]
        if len(keys) != 2 or keys[0] not in names:
            raise ValueError(
                f"parameter {jax.tree_util.keystr(path)} is not of the {model.backbone.name} "
                f"network; expected {{layer: {{kernel, bias}}}} with layers {', '.join(names)} "
                "(give variables['params'])"
            )
        found.setdefault(keys[0], {})[keys[1]] = tuple(leaf.shape)
    return {layer: found[layer] for layer in names if layer in found}


def _check_architecture(source: SourceWeights, backbone: Backbone) -> None:
    """Refuses another network's weights, even where their shapes would fit."""
    if source.architecture is None:
        outputs = " or ".join(f"{n} ({name})" for n, name in ARCHITECTURE_OF_OUTPUTS.items())
        lite = " or ".join(
            f"{blocks} with {inputs} inputs ({name})" for (blocks, inputs), name in NETWORKS.items()
        )
        raise ValueError(
            f"{source.path}: does not show its architecture: expected {FIRST_LAYER}/kernel with "
            f"{outputs} outputs, or blocks and a {LAST_CONVOLUTION} with {lite}; add it to the file"
        )
    if source.architecture != backbone.name:
        known = ", ".join(name for name, known in BACKBONES.items() if known.weight_names)
        raise ValueError(
            f"{source.path}: holds {source.architecture} weights, expected {backbone.name}; give a "
            f"file of that network, or build the file's backbone (known are {known})"
        )


@dataclasses.dataclass
class _Port:
    """Accounts of one port: what was taken, what was omitted and why, what is wrong."""

    source: SourceWeights
    shapes: _Shapes
    backbone: Backbone
    partial: bool
    arrays: dict[tuple[str, str], np.ndarray] = dataclasses.field(default_factory=dict)
    loaded: dict[str, str] = dataclasses.field(default_factory=dict)
    random: dict[str, str] = dataclasses.field(default_factory=dict)
    used: set[str] = dataclasses.field(default_factory=set)
    problems: list[str] = dataclasses.field(default_factory=list)

    def take(self, layer: str) -> None:
        """Accounts for one layer of the model."""
        expected = self.shapes[layer]
        names = [name for name in self.backbone.weight_names[layer] if name in self.source.layers]
        self.used.update(names[:1])
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
        below = self.backbone.flattened.get(layer)
        if below and leaf == "kernel" and self.source.row_order == "hwc":
            array = _rows_to_chw(array, channels=self.shapes[below]["bias"][0], layer=layer)
        self.arrays[layer, leaf] = np.ascontiguousarray(array, dtype=np.float32)

    def check(self) -> None:
        """Raises if anything is missing, unknown or of the wrong shape, or nothing was loaded."""
        unknown = [name for name in self.source.layers if name not in self.used]
        for name in unknown:
            shapes = ", ".join(f"{k} {list(v.shape)}" for k, v in self.source.layers[name].items())
            self.problems.append(f"+ {name} ({shapes}): unknown")
        if self.problems:
            raise ValueError(
                f"{self.source.path}: does not fit the {self.backbone.name} network: "
                f"{'; '.join(self.problems)}. Missing layers may stay random with partial "
                f"(--partial); another {self.backbone.classifier} needs its num_classes "
                "(--num_classes)"
            )
        if not self.loaded:
            raise ValueError(
                f"{self.source.path}: no layer to load; expected at least one complete layer of "
                f"{', '.join(self.shapes)}"
            )


def _to_flax_layout(blob: np.ndarray, kernel_layout: str) -> np.ndarray:
    """Puts the output channel last; Caffe, torch and Flax all correlate, so nothing is flipped."""
    if kernel_layout == "oihw" and blob.ndim == 4:
        return blob.transpose(2, 3, 1, 0)
    if kernel_layout == "oihw" and blob.ndim == 2:
        return blob.T
    return blob


def _rows_to_chw(kernel: np.ndarray, *, channels: int, layer: str) -> np.ndarray:
    """Reorders rows from maps flattened in H, W, C order to C, H, W order.

    Args:
      kernel: [h*w*c, d]; the maps are square.
      channels: number c of maps.
      layer: the kernel's layer, for messages.

    Returns:
      [c*h*w, d].
    """
    inputs, outputs = kernel.shape
    side = math.isqrt(inputs // channels)
    if side * side * channels != inputs:
        raise ValueError(
            f"{layer}/kernel has {inputs} inputs, expected {channels} times a square: "
            "the maps below must be square to reorder them"
        )
    spatial = kernel.reshape(side, side, channels, outputs)
    return spatial.transpose(2, 0, 1, 3).reshape(inputs, outputs)
