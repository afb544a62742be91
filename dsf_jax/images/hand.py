"""Views that differ as hands do: a pen that is wider or fainter, lines that bend a little."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dsf_jax.images.points import CANVAS, DARKEST
from dsf_jax.images.resize import BINARY_PEN, WIDEST_PEN, check_pen, draw_points

WAVES = 6  # that a bend is the sum of
SLOWEST, FASTEST = 0.5, 2.0  # waves per canvas side: slower ones only move, faster ones tremble


class Hand(NamedTuple):
    """How much views differ beside angle and flip, in training.

    Attributes:
      pen_spread: the pen is at most so much thinner or wider, in pixels of the map; of no meaning for
        the binary map.
      bend: how far points are moved in x and in y, the root of the mean square, in canvas sides.
      pressure_spread: strokes are at most so much fainter or darker, as a fraction of their darkness;
        of no meaning for the binary map.
    """

    pen_spread: float = 0.0
    bend: float = 0.0
    pressure_spread: float = 0.0


STEADY = Hand()


def check_hand(hand: Hand, pen: float) -> None:
    """Raises ValueError unless a pen of this width may vary as the hand has it."""
    if not 0 <= hand.pressure_spread < 1:
        raise ValueError(
            f"pressure_spread={hand.pressure_spread} must lie in [0, 1), so that strokes are seen; change it"
        )
    check_pen(pen)
    if hand.bend < 0 or hand.pen_spread < 0:
        raise ValueError(
            f"bend={hand.bend} and pen_spread={hand.pen_spread} must not be below 0; raise them"
        )
    if pen == BINARY_PEN or not hand.pen_spread:
        return
    if not 0 < pen - hand.pen_spread <= pen + hand.pen_spread <= WIDEST_PEN:
        raise ValueError(
            f"pen={pen} and pen_spread={hand.pen_spread} give widths from {pen - hand.pen_spread} to "
            f"{pen + hand.pen_spread}, expected above 0 and at most {WIDEST_PEN}; lower the spread"
        )


def drawn_by_hand(
    key: jax.Array,
    points: jax.Array,
    angle: jax.Array | float,
    flip: jax.Array | bool,
    *,
    size: int,
    pen: float,
    hand: Hand,
) -> jax.Array:
    """Draws points as `edge_preserving_resize` does, with what the hand adds.

    Args:
      key: [] PRNG key of this view.
      points: [p, 3] or [p, 2] uint16 canvas points, padded.
      angle: [] degrees, counter-clockwise.
      flip: [] bool.
      size: h = w of the map in pixels.
      pen: width of the pen, about which it varies.
      hand: how much it varies.

    Returns:
      [size, size] uint8, black on white.

    Raises:
      ValueError: see `check_hand`.
    """
    check_hand(hand, pen)
    width_key, bend_key, pressure_key = jax.random.split(key, 3)
    width: jax.Array | float = pen
    spread = hand.pen_spread if pen != BINARY_PEN else 0.0
    if spread:
        width = pen + spread * jax.random.uniform(width_key, minval=-1.0)
    if hand.pressure_spread and pen != BINARY_PEN:
        change = hand.pressure_spread * jax.random.uniform(pressure_key, minval=-1.0)
        points = _pressed(points, 1.0 + change)
    shift = bend(bend_key, points) * hand.bend if hand.bend else None
    widest = pen + spread
    return draw_points(points, angle, flip, pen=width, widest=widest, size=size, shift=shift)


def _pressed(points: jax.Array, pressure: jax.Array) -> jax.Array:
    """Points [p, 2 or 3] so many times as dark, [p, 3]; none is darker than black."""
    dark = points[:, 2:] if points.shape[1] == 3 else jnp.full((len(points), 1), DARKEST)
    pressed = jnp.clip(jnp.round(dark * pressure), 0, DARKEST).astype(points.dtype)
    return jnp.concatenate([points[:, :2], pressed], axis=1)


def bend(key: jax.Array, points: jax.Array) -> jax.Array:
    """Draws a smooth motion of the canvas, the sum of a few waves.

    Args:
      key: [] PRNG key.
      points: [p, 2 or more] canvas points.

    Returns:
      [p, 2] float32 that x and y move by, of root mean square 1 over motions.
    """
    place = (points[:, :2].astype(jnp.float32) + 0.5) / CANVAS
    keys = jax.random.split(key, 4)
    turn = jax.random.uniform(keys[0], (WAVES,), maxval=2 * jnp.pi)
    frequency = jax.random.uniform(keys[1], (WAVES,), minval=SLOWEST, maxval=FASTEST)
    waves = frequency[None] * jnp.stack([jnp.cos(turn), jnp.sin(turn)])  # [2, n]
    phase = jax.random.uniform(keys[2], (WAVES,), maxval=2 * jnp.pi)
    height = jax.random.normal(keys[3], (WAVES, 2)) * jnp.sqrt(2.0 / WAVES)
    travelled = jnp.matmul(place, waves, precision="highest")
    return jnp.matmul(jnp.cos(2 * jnp.pi * travelled + phase[None]), height, precision="highest")
