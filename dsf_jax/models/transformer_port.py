"""Tensors of a Hugging Face folder -> the parameters of a transformer, every name accounted for."""

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, NamedTuple

import numpy as np

from dsf_jax.models.backbone import Params
from dsf_jax.models.transformer import Encoder, block_name
from dsf_jax.models.weight_files.hugging_face import HuggingFaceFolder

SHOWN = 20  # names in an error
# What PyTorch calls our arrays.
_LEAVES = {"kernel": "weight", "bias": "bias", "scale": "weight", "embedding": "weight"}
PROJECTION = {"projection_dim": 512}  # of both CLIP's towers, by default
# {part of a block: its name in CLIP's and SigLIP's encoders, image and text}
CLIP_BLOCK = {
    "norm1": "layer_norm1.{}",
    "query": "self_attn.q_proj.{}",
    "key": "self_attn.k_proj.{}",
    "value": "self_attn.v_proj.{}",
    "output": "self_attn.out_proj.{}",
    "norm2": "layer_norm2.{}",
    "up": "mlp.fc1.{}",
    "down": "mlp.fc2.{}",
}


class Origin(NamedTuple):
    """Where a layer's arrays come from.

    Attributes:
      name: name of the tensor, with {} for PyTorch's name of the array: weight or bias.
      part: number of the part taken, where a tensor joins several along its first dimension.
      parts: number of these parts.
    """

    name: str
    part: int = 0
    parts: int = 1


Origins = Mapping[str, Origin]


def block_origins(
    encoder: Encoder, prefix: str, parts: Mapping[str, str | Origin]
) -> dict[str, Origin]:
    """Returns where the layers of all blocks come from.

    Args:
      encoder: shape of the encoder.
      prefix: beginning of a block's names, with {} for its number.
      parts: {part of a block: rest of its name}.
    """
    found: dict[str, Origin] = {}
    for number in range(encoder.depth):
        for part, own in parts.items():
            origin = own if isinstance(own, Origin) else Origin(own)
            name = prefix.format(number) + origin.name
            found[f"{block_name(number)}_{part}"] = origin._replace(name=name)
    return found


def ported_params(
    folder: HuggingFaceFolder,
    shapes: Mapping[str, Mapping[str, Any]],
    origins: Origins,
    known: Callable[[str], bool],
) -> Params:
    """Reads the parameters of a network.

    Args:
      folder: folder that holds them.
      shapes: {layer: {name: `jax.ShapeDtypeStruct`}} wanted.
      origins: where each layer comes from.
      known: function that returns whether a tensor belongs to the folder's network, but not to what is
        read here.

    Returns:
      {layer: {name: float32 NumPy array}}.

    Raises:
      ValueError: for missing, unknown or wrong-shape tensors, all of them in one message; for values
        that are not finite.
    """
    names = {
        (layer, leaf): origins[layer].name.format(_LEAVES[leaf])
        for layer, leaves in shapes.items()
        for leaf in leaves
    }
    _check(folder, _missing_or_unknown(folder, set(names.values()), known))
    arrays, problems = folder.read(names.values()), []
    params: dict[str, dict[str, Any]] = {}
    for (layer, leaf), name in names.items():
        array, expected = _taken(arrays[name], origins[layer], leaf), shapes[layer][leaf].shape
        if array.shape != expected:
            problems.append(
                f"-+ {name}: expected {list(expected)} for {layer}/{leaf}, got {list(array.shape)}"
            )
        params.setdefault(layer, {})[leaf] = np.ascontiguousarray(array)
    _check(folder, problems)
    return params


def _missing_or_unknown(
    folder: HuggingFaceFolder, names: Set[str], known: Callable[[str], bool]
) -> list[str]:
    missing = [f"- {name}: missing" for name in sorted(names - folder.tensors.keys())]
    unknown = [
        f"+ {name} {list(tensor.shape)}: unknown"
        for name, tensor in sorted(folder.tensors.items())
        if name not in names and not known(name)
    ]
    return missing + unknown


def _check(folder: HuggingFaceFolder, problems: list[str]) -> None:
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ValueError(
            f"{folder.path}: does not fit its own configuration: {'; '.join(problems[:SHOWN])}{more}. "
            "Fetch the folder again, or give one of a network that is read"
        )


def _taken(array: np.ndarray, origin: Origin, leaf: str) -> np.ndarray:
    """Takes a layer's part of a tensor, in Flax's layout."""
    if not array.size or not array.ndim:  # of another shape than any layer's
        return array
    if origin.parts > 1 and array.shape[0] % origin.parts == 0:
        array = np.split(array, origin.parts)[origin.part]
    if leaf == "kernel":
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    return array.reshape(-1, array.shape[-1]) if leaf == "embedding" else array


def belongs(name: str, beginnings: Iterable[str]) -> bool:
    """Returns whether a tensor is of a part of which names begin so, or a table of the numbers of
    positions, which old files hold.
    """
    return name.startswith(tuple(beginnings)) or name.endswith("position_ids")
