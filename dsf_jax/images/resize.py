"""Draws a sketch's points into a small map, and the interpolating resizes that Fig. 1 compares it with."""

import functools
from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.images.points import (
    CANVAS,
    DARKEST,
    PADDED_LENGTHS,
    PADDING,
    Polarity,
    check_polarity,
)

SIZE = 227  # the input of Caffe's AlexNet
LARGEST_SIZE = int(
    CANVAS / np.sqrt(2)
)  # touching cells are up to sqrt(2) units apart: beyond this, strokes would tear
PEN = 3.0  # width of the pen that networks are trained with, in pixels of the map
WIDEST_PEN = 4.0
BINARY_PEN = 0.0  # the paper's own form
# Of a drawing with dark areas, which may have ten times as many, these are moved at a time.
POINTS_AT_ONCE = PADDED_LENGTHS[-1]

Interpolation = Literal["linear", "cubic"]


def _rotation(angle: jax.Array | float, flip: jax.Array | bool) -> jax.Array:
    """[2, 2] matrix that mirrors x where `flip`, then turns (x right, y down) counter-clockwise, as seen, by `angle` degrees."""
    radians = jnp.deg2rad(angle)
    cos, sin = jnp.cos(radians), jnp.sin(radians)
    mirror = jnp.where(flip, -1.0, 1.0)
    return jnp.array([[cos * mirror, sin], [-sin * mirror, cos]])


def check_pen(pen: float) -> None:
    """Raises ValueError unless a pen of this width can be drawn."""
    if not 0.0 <= pen <= WIDEST_PEN:
        raise ValueError(
            f"pen={pen} must lie between {BINARY_PEN} (binary) and {WIDEST_PEN} pixels; choose another width"
        )


@functools.partial(jax.jit, static_argnames=("size", "pen", "polarity"))
def edge_preserving_resize(
    points: jax.Array,
    angle: jax.Array | float = 0.0,
    flip: jax.Array | bool = False,
    scale: jax.Array | float = 1.0,
    *,
    size: int = SIZE,
    pen: float = PEN,
    polarity: Polarity = "black_on_white",
) -> jax.Array:
    """Draws a sketch's points, flipped, rotated about the canvas centre and scaled, into a map
    (section 3.1 of the paper).

    No pixel value is interpolated: the points move, and a pen of the same width draws them at every
    angle and scale. Thin lines survive shrinking, and lists made by `points.py` stay connected at
    every angle up to `size * scale` = 481.

    Args:
      points: [p, 3] uint16 canvas points (x, y, darkness), or [p, 2] that are all fully dark;
        `PADDING` rows are left out, and so are points that the motion carries off the map.
      angle: [] degrees, counter-clockwise.
      flip: [] bool, mirror left and right before rotating.
      scale: [] factor about the canvas centre; 1 maps the canvas onto the map.
      size: h = w of the map in pixels.
      pen: width of the pen in pixels of the map; its lines are anti-aliased, and as dark as the
        points. 0 is the paper's binary map: a pixel is ink when a point falls into it, however dark.
      polarity: strokes 0 on paper 255, or the other way round.

    Returns:
      [size, size] uint8; 0 and 255 only for `pen=0`.

    Raises:
      ValueError: for a size over 481, where neighbouring points would no longer touch, a pen wider
        than `WIDEST_PEN`, or an unknown polarity.

    Examples:
      >>> from dsf_jax.images.points import points_from_strokes
      >>> line = points_from_strokes([np.array([[0, 0], [2, 2]])], box=(0, 0, 3, 3))
      >>> edge_preserving_resize(line, size=3, pen=0).tolist()
      [[0, 255, 255], [255, 0, 255], [255, 255, 0]]
      >>> edge_preserving_resize(line, angle=45, size=3, pen=0).tolist()  # counter-clockwise
      [[255, 255, 255], [0, 0, 0], [255, 255, 255]]
    """
    check_pen(pen)
    return draw_points(
        points, angle, flip, scale, pen=pen, widest=pen, size=size, polarity=polarity
    )


def draw_points(
    points: jax.Array,
    angle: jax.Array | float,
    flip: jax.Array | bool,
    scale: jax.Array | float = 1.0,
    *,
    pen: jax.Array | float,
    widest: float,
    size: int,
    shift: jax.Array | None = None,
    polarity: Polarity = "black_on_white",
) -> jax.Array:
    """Draws points as `edge_preserving_resize` does, by a pen whose width need not be known before.

    Args:
      points: see `edge_preserving_resize`.
      angle: see `edge_preserving_resize`.
      flip: see `edge_preserving_resize`.
      scale: see `edge_preserving_resize`.
      pen: [] width.
      widest: greatest width that it may have; `BINARY_PEN` for the binary pen.
      size: see `edge_preserving_resize`.
      shift: [p, 2] float32 that the points are moved by before, in canvas sides; None for nothing.
      polarity: see `edge_preserving_resize`.

    Returns:
      [size, size] uint8.

    Raises:
      ValueError: for a size over 481, or an unknown polarity.
    """
    check_polarity(polarity)
    _check_size(size)
    chex.assert_shape(points, (None, {2, 3}))
    ink = functools.partial(_inked, motion=(angle, flip, scale), pen=pen, widest=widest, size=size)
    drawn = jnp.zeros(size * size, jnp.uint8)
    length = points.shape[0]
    # In an export it is a symbol, for a list of any length.
    if not isinstance(length, int) or length <= POINTS_AT_ONCE:
        drawn, _ = ink(drawn, (points, shift))
    else:
        drawn, _ = jax.lax.scan(ink, drawn, jax.tree.map(_in_parts, (points, shift)))
    shown = DARKEST - drawn if polarity == "black_on_white" else drawn
    return shown.reshape(size, size)


def _inked(
    drawn: jax.Array,
    part: tuple[jax.Array, jax.Array | None],
    *,
    motion: tuple[jax.Array | float, jax.Array | bool, jax.Array | float],
    pen: jax.Array | float,
    widest: float,
    size: int,
) -> tuple[jax.Array, None]:
    """Draws points, and how far each is moved before, into a map [size * size] uint8 of darkness."""
    (points, shift), (angle, flip, scale) = part, motion
    centred = (points[:, :2].astype(jnp.float32) + 0.5) / CANVAS - 0.5  # [p, 2]
    shifted = centred if shift is None else centred + shift
    # To mirror and turn is to turn the other way and mirror: done with the map's columns, so that
    # it is exactly what mirroring the other map gives (`sketch_views`).
    turned = _rotation(jnp.where(flip, -angle, angle), False)
    moved = jnp.matmul(shifted, turned.T, precision="highest") * scale
    dark = points[:, 2] if points.shape[1] == 3 else jnp.full(len(points), DARKEST)
    pixels, darkness = _marks((moved + 0.5) * size, dark, pen, widest)
    inside = jnp.all((pixels >= 0) & (pixels < size), axis=-1) & (points[None, :, 0] != PADDING)
    columns = jnp.where(flip, size - 1 - pixels[..., 0], pixels[..., 0])
    flat = jnp.where(inside, pixels[..., 1] * size + columns, size * size)
    # Where pens meet, the darker one shows.
    return drawn.at[flat].max(darkness, mode="drop"), None


def _in_parts(x: jax.Array) -> jax.Array:
    """Cuts [p, n] into parts, [p / POINTS_AT_ONCE, POINTS_AT_ONCE, n], rounded up by padding."""
    missing = -len(x) % POINTS_AT_ONCE
    whole = jnp.pad(x, [(0, missing), (0, 0)], constant_values=PADDING)
    return whole.reshape(-1, POINTS_AT_ONCE, x.shape[1])


def _check_size(size: int) -> None:
    if not 1 <= size <= LARGEST_SIZE:
        raise ValueError(
            f"size={size} must lie between 1 and {LARGEST_SIZE}: points are 1/{CANVAS} of the canvas apart and would tear"
        )


def _marks(
    place: jax.Array, dark: jax.Array, pen: jax.Array | float, widest: float
) -> tuple[jax.Array, jax.Array]:
    """Finds what a pen marks: the n pixels around each place [p, 2] of a map, [n, p, 2], and how dark it
    makes them, [n, p] uint8.
    """
    pixels = jnp.floor(place).astype(jnp.int32)[None] + _around(widest)[:, None]
    if widest == BINARY_PEN:
        return pixels, jnp.full(pixels.shape[:2], DARKEST, jnp.uint8)
    distance = jnp.linalg.norm(pixels + 0.5 - place[None], axis=-1)
    profile = jnp.clip(pen / 2 + 0.5 - distance, 0.0, 1.0)
    return pixels, jnp.round(profile * dark[None]).astype(jnp.uint8)


def _around(pen: float) -> np.ndarray:
    """Lists the pixels that a point may darken, [n, 2] steps from its own; its own for the binary pen."""
    steps = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 2), axis=-1).reshape(-1, 2)
    # A point lies up to half a pixel from the middle of its own.
    nearest = np.linalg.norm(np.maximum(np.abs(steps) - 0.5, 0), axis=1)
    return steps[nearest < pen / 2 + 0.5]


def _turned(image: jax.Array, rotation: jax.Array) -> jax.Array:
    """Turns [s, s] float32 about its centre; the inverse of a rotation [2, 2] is its transpose."""
    size = len(image)
    centre = (size - 1) / 2
    # [h, w, 2]: x, y.
    pixel = jnp.stack(jnp.meshgrid(jnp.arange(size), jnp.arange(size)), axis=-1) - centre
    source = jnp.matmul(pixel, rotation, precision="highest") + centre
    return jax.scipy.ndimage.map_coordinates(
        image, [source[..., 1], source[..., 0]], order=1, cval=255.0
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

    Examples:
      >>> line = np.full((8, 8), 255, np.uint8)
      >>> line[:, 1] = 0
      >>> interpolating_resize(line, size=4, method="linear")[0].tolist()  # thinner, and grey
      [146, 223, 255, 255]
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
    turned = _turned(small, _rotation(angle, flip))
    if binarise_at is not None:
        turned = jnp.where(turned >= 255.0 * binarise_at, 255.0, 0.0)
    return jnp.clip(jnp.round(turned), 0, 255).astype(jnp.uint8)
