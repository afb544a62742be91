"""The 18 views of a sketch, the 18 views of a photo, and one of them at random for training (section 3.1 of the paper)."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.images.hand import STEADY, Hand, drawn_by_hand
from dsf_jax.images.points import Polarity
from dsf_jax.images.resize import PEN, SIZE, edge_preserving_resize, interpolating_resize

# How a drawing gets to the size of the network's input: its points on the device, or, what Table 1
# compares that with, its pixels on the host, which the device then turns.
Resizing = Literal["edge_preserving", "bilinear", "cubic"]
# Which views a query is searched by: the plain one, it and its mirror image, or all 18.
QueryViews = Literal["one", "mirrored", "all"]

PHOTO_SIZE = 256  # photos are resized to this square, and patches are taken from it
MARGIN = 32  # pixels that photos are enlarged beyond a patch that is larger than they are
ANGLES = np.linspace(
    -45.0, 45.0, 9, dtype=np.float32
)  # the paper says steps of 11.5; nine equal ones are 11.25
VIEW_ANGLES = np.repeat(ANGLES, 2)  # [v]
VIEW_FLIPS = np.tile([False, True], 9)  # [v]
PLAIN = 8  # number of the plain view among the 18; its mirror image follows it
HAND = 1  # separates the keys of a hand from those of angle and flip


def check_resizing(resizing: str) -> None:
    """Raises ValueError unless `resizing` names a way to resize drawings."""
    if resizing not in get_args(Resizing):
        raise ValueError(
            f"resizing={resizing!r} is unknown; choose one of {', '.join(get_args(Resizing))}"
        )


def check_query_views(choice: str) -> None:
    """Raises ValueError unless `choice` names views that a query may be searched by."""
    if choice not in get_args(QueryViews):
        raise ValueError(
            f"views={choice!r} is unknown; choose one of {', '.join(get_args(QueryViews))}"
        )


@functools.partial(jax.jit, static_argnames=("size", "pen", "polarity"))
def sketch_views(
    points: jax.Array,
    *,
    size: int = SIZE,
    pen: float = PEN,
    polarity: Polarity = "black_on_white",
) -> jax.Array:
    """Makes the 18 views of a sketch: 9 angles from -45 to 45 degrees, each plain and flipped.

    Args:
      points: [p, 3] or [p, 2] uint16 canvas points, padded.
      size: h = w of each view.
      pen: see `edge_preserving_resize`.
      polarity: see `edge_preserving_resize`.

    Returns:
      [18, size, size] uint8.
    """
    resize = functools.partial(edge_preserving_resize, size=size, pen=pen, polarity=polarity)
    plain = jax.vmap(resize, in_axes=(None, 0))(points, ANGLES)  # [9, h, w]
    # A flipped view is the mirror image of the one turned the other way: half the points are moved.
    flipped = plain[::-1, :, ::-1]
    return jnp.stack([plain, flipped], axis=1).reshape(len(VIEW_ANGLES), size, size)


def upright_drawing(drawing: jax.Array, *, size: int = SIZE) -> jax.Array:
    """Returns a resized drawing as it is, if it has the network's size.

    Args:
      drawing: [size, size] uint8, black on white.
      size: h = w of the network's input.

    Returns:
      [size, size] uint8.

    Raises:
      ValueError: for a drawing of another size.
    """
    if drawing.shape != (size, size):
        raise ValueError(
            f"a drawing has shape {drawing.shape}, the network takes {(size, size)}; resize it to "
            f"size={size} when it is read"
        )
    return drawing


def turned_drawing(
    drawing: jax.Array,
    angle: jax.Array | float = 0.0,
    flip: jax.Array | bool = False,
    *,
    size: int = SIZE,
) -> jax.Array:
    """Flips and rotates a resized drawing, with linear interpolation; what comes into the picture is
    paper.

    Args:
      drawing: [size, size] uint8, black on white.
      angle: [] degrees, counter-clockwise.
      flip: [] bool, mirror left and right before rotating.
      size: h = w of the network's input.

    Returns:
      [size, size] uint8.

    Raises:
      ValueError: for a drawing of another size.
    """
    return interpolating_resize(
        upright_drawing(drawing, size=size), angle, flip, size=size, method="linear"
    )


@functools.partial(jax.jit, static_argnames=("size",))
def drawing_views(drawing: jax.Array, *, size: int = SIZE) -> jax.Array:
    """Makes the 18 views of a resized drawing: the angles and flips of `sketch_views`.

    Args:
      drawing: [size, size] uint8, black on white.
      size: h = w of each view.

    Returns:
      [18, size, size] uint8.
    """
    turn = functools.partial(turned_drawing, size=size)
    return jax.vmap(turn, in_axes=(None, 0, 0))(
        drawing, jnp.asarray(VIEW_ANGLES), jnp.asarray(VIEW_FLIPS)
    )


def _with_room(photo: jax.Array, size: int) -> jax.Array:
    """Enlarges photos [..., 256, 256, c] that are smaller than a patch; what is around it is then as
    much as around one of 224. Photos of other sizes have no reason to be too small.
    """
    side = min(photo.shape[-3:-1])
    if size <= side:
        return photo
    if photo.shape[-3:-1] != (PHOTO_SIZE, PHOTO_SIZE):
        raise ValueError(
            f"patches of size={size} do not fit into a photo of {side}; photos are {PHOTO_SIZE}"
        )
    shape = (*photo.shape[:-3], size + MARGIN, size + MARGIN, photo.shape[-1])
    larger = jax.image.resize(photo.astype(jnp.float32), shape, "linear")
    return jnp.rint(larger).astype(photo.dtype)


def _photo_corners(side: int, size: int) -> np.ndarray:
    """[v, 2] (top, left) of the 3 x 3 patches, each twice (plain, flipped)."""
    steps = np.array([0, (side - size) // 2, side - size])
    grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(9, 2)
    return np.repeat(grid, 2, axis=0)


def _patch(photo: jax.Array, corner: jax.Array, flip: jax.Array, size: int) -> jax.Array:
    patch = jax.lax.dynamic_slice(photo, (corner[0], corner[1], 0), (size, size, photo.shape[2]))
    return jnp.where(flip, patch[:, ::-1], patch)


@functools.partial(jax.jit, static_argnames=("size",))
def photo_views(photo: jax.Array, *, size: int = SIZE) -> jax.Array:
    """Makes the 18 views of a photo: a 3 x 3 grid of patches, each plain and flipped.

    Args:
      photo: [h, h, c] uint8, usually 256 x 256.
      size: h = w of each patch.

    Returns:
      [18, size, size, c] uint8.
    """
    chex.assert_rank(photo, 3)
    photo = _with_room(photo, size)
    corners = jnp.asarray(_photo_corners(min(photo.shape[:2]), size))
    return jax.vmap(functools.partial(_patch, size=size), in_axes=(None, 0, 0))(
        photo, corners, jnp.asarray(VIEW_FLIPS)
    )


def central_patch(photo: jax.Array, *, size: int = SIZE) -> jax.Array:
    """Cuts the middle patch of photos: the single view that features are taken from.

    Args:
      photo: [..., h, w, c] uint8.
      size: h = w of the patch.

    Returns:
      [..., size, size, c] uint8.

    Examples:
      >>> central_patch(np.zeros((5, 256, 256, 3), np.uint8)).shape
      (5, 227, 227, 3)
    """
    photo = _with_room(photo, size)
    height, width = photo.shape[-3:-1]
    top, left = (height - size) // 2, (width - size) // 2
    return photo[..., top : top + size, left : left + size, :]


def random_sketch_view(
    key: jax.Array, points: jax.Array, *, size: int = SIZE, pen: float = PEN, hand: Hand = STEADY
) -> jax.Array:
    """Makes one of the 18 views of a sketch, each equally likely.

    Args:
      key: [] PRNG key of this example at this step.
      points: [p, 3] or [p, 2] uint16 canvas points, padded.
      size: h = w of the view.
      pen: see `edge_preserving_resize`.
      hand: what else differs from view to view.

    Returns:
      [size, size] uint8.
    """
    turn = _random_turn(key)
    own = jax.random.fold_in(key, HAND)
    return drawn_by_hand(own, points, *turn, size=size, pen=pen, hand=hand)


def random_drawing_view(key: jax.Array, drawing: jax.Array, *, size: int = SIZE) -> jax.Array:
    """Makes one of the 18 views of a resized drawing, each equally likely.

    Args:
      key: [] PRNG key of this example at this step.
      drawing: [size, size] uint8, black on white.
      size: h = w of the view.

    Returns:
      [size, size] uint8.
    """
    return turned_drawing(drawing, *_random_turn(key), size=size)


def _random_turn(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws the angle and the flip of one of the 18 views."""
    view = jax.random.randint(key, (), 0, len(VIEW_ANGLES))
    return jnp.asarray(VIEW_ANGLES)[view], jnp.asarray(VIEW_FLIPS)[view]


def random_photo_view(key: jax.Array, photo: jax.Array, *, size: int = SIZE) -> jax.Array:
    """Cuts one of the 18 views of a photo, each equally likely.

    Args:
      key: [] PRNG key of this example at this step.
      photo: [h, h, c] uint8.
      size: h = w of the patch.

    Returns:
      [size, size, c] uint8.
    """
    photo = _with_room(photo, size)
    view = jax.random.randint(key, (), 0, len(VIEW_FLIPS))
    corners = jnp.asarray(_photo_corners(min(photo.shape[:2]), size))
    return _patch(photo, corners[view], jnp.asarray(VIEW_FLIPS)[view], size)


class _Views(NamedTuple):
    """The views of one kind of content, made from one example each."""

    plain: Callable[..., jax.Array]  # of content
    random: Callable[..., jax.Array]  # of key, content
    every: Callable[..., jax.Array]  # of content


_VIEWS = {
    "points": _Views(edge_preserving_resize, random_sketch_view, sketch_views),
    "drawing": _Views(upright_drawing, random_drawing_view, drawing_views),
    "photo": _Views(central_patch, random_photo_view, photo_views),
}


def _views_of(
    group: Mapping[str, Any], size: int, pen: float, hand: Hand = STEADY
) -> tuple[_Views, Any]:
    """Finds a group's content, and what makes views of it, of one size, by one pen and hand."""
    (name,) = _VIEWS.keys() & group.keys()
    own = {"pen": pen} if name == "points" else {}
    plain, random, every = (
        functools.partial(function, size=size, **own) for function in _VIEWS[name]
    )
    if own:
        random = functools.partial(random, hand=hand)
    return _Views(plain, random, every), group[name]


@functools.partial(jax.jit, static_argnames=("size", "pen"))
def plain_view(group: Mapping[str, Any], *, size: int = SIZE, pen: float = PEN) -> jax.Array:
    """Makes the one view of each example that features and single-angle classes are taken from:
    upright, or the middle patch.

    Args:
      group: "points" [b, p, 3] or [b, p, 2] uint16, "drawing" [b, size, size] uint8 or "photo" [b, h, w, c]
        uint8.
      size: h = w of the views.
      pen: what points are drawn with, see `edge_preserving_resize`.

    Returns:
      [b, size, size] or [b, size, size, c] uint8.
    """
    views, content = _views_of(group, size, pen)
    return jax.vmap(views.plain)(content)


@functools.partial(jax.jit, static_argnames=("size", "pen", "hand"))
def random_view(
    keys: jax.Array,
    group: Mapping[str, Any],
    *,
    size: int = SIZE,
    pen: float = PEN,
    hand: Hand = STEADY,
) -> jax.Array:
    """Makes one of the 18 views of each example, each equally likely.

    Args:
      keys: [b] PRNG keys.
      group: as in `plain_view`.
      size: h = w of the views.
      pen: what points are drawn with, see `edge_preserving_resize`.
      hand: what else differs from view to view of points.

    Returns:
      [b, size, size] or [b, size, size, c] uint8.
    """
    views, content = _views_of(group, size, pen, hand)
    return jax.vmap(views.random)(keys, content)


@functools.partial(jax.jit, static_argnames=("size", "pen"))
def all_views(group: Mapping[str, Any], *, size: int = SIZE, pen: float = PEN) -> jax.Array:
    """Makes the 18 views of each example, one after the other: a pen's marks of 18 views of a whole
    batch would take gigabytes.

    Args:
      group: as in `plain_view`.
      size: h = w of the views.
      pen: what points are drawn with, see `edge_preserving_resize`.

    Returns:
      [b, 18, size, size] or [b, 18, size, size, c] uint8.
    """
    views, content = _views_of(group, size, pen)
    return jax.lax.map(views.every, content)


def query_views(
    group: Mapping[str, Any], choice: QueryViews, *, size: int = SIZE, pen: float = PEN
) -> jax.Array:
    """Makes the views of each example that a query is searched by, the plain view first.

    Args:
      group: as in `plain_view`.
      choice: "one" is the plain view, "mirrored" that and its mirror image, "all" the 18 of
        `all_views`: turned and mirrored drawings, the patches of a photo.
      size: h = w of the views.
      pen: what points are drawn with, see `edge_preserving_resize`.

    Returns:
      [b, v, size, size] or [b, v, size, size, c] uint8; v = 1, 2 or 18.

    Raises:
      ValueError: for an unknown choice.

    Examples:
      >>> photos = {"photo": np.zeros((5, 256, 256, 3), np.uint8)}
      >>> query_views(photos, "mirrored").shape
      (5, 2, 227, 227, 3)
    """
    check_query_views(choice)
    if choice == "all":
        return jnp.roll(all_views(group, size=size, pen=pen), -PLAIN, axis=1)
    plain = plain_view(group, size=size, pen=pen)
    return plain[:, None] if choice == "one" else jnp.stack([plain, plain[:, :, ::-1]], axis=1)
