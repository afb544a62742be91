"""Moves a sketch's points into a small map, and the interpolating resizes that Fig. 1 compares it with."""

import functools
from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.images.points import CANVAS, PADDING, Polarity, check_polarity

SIZE = 227  # the input of Caffe's AlexNet
LARGEST_SIZE = int(
    CANVAS / np.sqrt(2)
)  # touching cells are up to sqrt(2) units apart: beyond this, strokes would tear

Interpolation = Literal["linear", "cubic"]


def _rotation(angle: jax.Array | float, flip: jax.Array | bool) -> jax.Array:
    """[2, 2] matrix that mirrors x where `flip`, then turns (x right, y down) counter-clockwise, as seen, by `angle` degrees."""
    radians = jnp.deg2rad(angle)
    cos, sin = jnp.cos(radians), jnp.sin(radians)
    mirror = jnp.where(flip, -1.0, 1.0)
    return jnp.array([[cos * mirror, sin], [-sin * mirror, cos]])


@functools.partial(jax.jit, static_argnames=("size", "polarity"))
def edge_preserving_resize(
    points: jax.Array,
    angle: jax.Array | float = 0.0,
    flip: jax.Array | bool = False,
    scale: jax.Array | float = 1.0,
    *,
    size: int = SIZE,
    polarity: Polarity = "black_on_white",
) -> jax.Array:
    """Writes a sketch's points, flipped, rotated about the canvas centre and scaled, into a map
    (section 3.1 of the paper).

    No pixel value is interpolated: a map pixel is ink when a point falls into it. Thin lines
    survive shrinking, and lists made by `points.py` stay connected at every angle up to `size *
    scale` = 481.

    Args:
      points: [p, 2] uint16 canvas points (x, y); `PADDING` rows are left out, and so are points
        that the motion carries off the map.
      angle: [] degrees, counter-clockwise.
      flip: [] bool, mirror left and right before rotating.
      scale: [] factor about the canvas centre; 1 maps the canvas onto the map.
      size: h = w of the map in pixels.
      polarity: strokes 0 on paper 255, or the other way round.

    Returns:
      [size, size] uint8, 0 or 255.

    Raises:
      ValueError: for an unknown polarity, or a size over 481, where neighbours would not touch.
    """
    check_polarity(polarity)
    if not 1 <= size <= LARGEST_SIZE:
        raise ValueError(
            f"size={size} must lie between 1 and {LARGEST_SIZE}: points are 1/{CANVAS} of the canvas apart and would tear"
        )
    chex.assert_shape(points, (None, 2))
    centred = (points.astype(jnp.float32) + 0.5) / CANVAS - 0.5  # [p, 2]
    # To mirror and turn is to turn the other way and mirror: done with the map's columns, so that
    # it is exactly what mirroring the other map gives (`sketch_views`).
    turned = _rotation(jnp.where(flip, -angle, angle), False)
    moved = jnp.matmul(centred, turned.T, precision="highest") * scale
    pixels = jnp.floor((moved + 0.5) * size).astype(jnp.int32)
    inside = jnp.all((pixels >= 0) & (pixels < size), axis=1) & (points[:, 0] != PADDING)
    columns = jnp.where(flip, size - 1 - pixels[:, 0], pixels[:, 0])
    flat = jnp.where(inside, pixels[:, 1] * size + columns, size * size)
    ink, paper = (0, 255) if polarity == "black_on_white" else (255, 0)
    return (
        jnp.full(size * size, paper, jnp.uint8).at[flat].set(ink, mode="drop").reshape(size, size)
    )


@functools.partial(jax.jit, static_argnames=("size", "method", "binarise_at"))
def interpolating_resize(
    image: jax.Array,
    angle: jax.Array | float = 0.0,
    flip: jax.Array | bool = False,
    *,
    size: int = SIZE,
    method: Interpolation = "cubic",
    binarise_at: float | None = None,
) -> jax.Array:
    """Resizes a drawing's pixels, then flips and rotates them about the centre: what Fig. 1 and
    Table 1 compare with.

    Args:
      image: [s, s] uint8, black strokes on white.
      angle: [] degrees, counter-clockwise; the rotation interpolates linearly and fills with paper.
      flip: [] bool, mirror left and right before rotating.
      size: h = w of the result in pixels.
      method: interpolation of the resize, anti-aliased when shrinking.
      binarise_at: brightness in (0, 1) from which a pixel is paper (255), below which it is ink
        (0); None keeps grey values.

    Returns:
      [size, size] uint8.

    Raises:
      ValueError: for an unknown method or an image that is not square.
    """
    if method not in get_args(Interpolation):
        raise ValueError(
            f"method={method!r} is unknown; choose one of {', '.join(get_args(Interpolation))}"
        )
    chex.assert_rank(image, 2)
    if image.shape[0] != image.shape[1]:
        raise ValueError(
            f"the image is {image.shape[1]}x{image.shape[0]}; pad it to a square first"
        )
    small = jax.image.resize(image.astype(jnp.float32), (size, size), method)
    pixel = (
        jnp.stack(jnp.meshgrid(jnp.arange(size), jnp.arange(size)), axis=-1) - (size - 1) / 2
    )  # [h, w, 2]: x, y
    source = (
        jnp.matmul(pixel, _rotation(angle, flip), precision="highest") + (size - 1) / 2
    )  # inverse = transpose
    turned = jax.scipy.ndimage.map_coordinates(
        small, [source[..., 1], source[..., 0]], order=1, cval=255.0
    )
    if binarise_at is not None:
        turned = jnp.where(turned >= 255.0 * binarise_at, 255.0, 0.0)
    return jnp.clip(jnp.round(turned), 0, 255).astype(jnp.uint8)
