"""What the networks are compared with: hand-crafted descriptors of the same examples, and a linear
classifier.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from dsf_jax.data.batches import Batch, Block, mapped
from dsf_jax.images.descriptors import (
    SIDE,
    SIDE_PEN,
    Descriptor,
    check_descriptor,
    describe,
    grey_picture,
)
from dsf_jax.images.views import plain_view

BATCH_SIZE = 64
STRENGTHS = tuple(10.0**power for power in range(-3, 4))


def described_size(descriptor: Descriptor) -> int:
    """Returns the length d of a descriptor; ValueError for an unknown one."""
    check_descriptor(descriptor)
    return len(describe(np.full((SIDE, SIDE), 255, np.uint8), descriptor, drawn=True))


def describe_blocks(
    examples: Sequence[dict[str, Any]],
    descriptor: Descriptor,
    *,
    label: str,
    numbers: Sequence[int] | None = None,
) -> Iterator[Block]:
    """Describes drawings by their edge-preserving maps, photos in grey, with a progress bar.

    Args:
      examples: n drawings, as points, or photos.
      descriptor: name of the descriptor, see `describe`.
      label: title of the progress bar.
      numbers: numbers of the blocks of `BATCH_SIZE` wanted, in order; all by default.

    Yields:
      Blocks with outputs {descriptor: [b, d] float32}, each row of length 1 (or 0 where nothing is
      drawn).

    Raises:
      ValueError: for an unknown descriptor, or no examples.
    """
    check_descriptor(descriptor)
    yield from described(
        examples,
        lambda picture, drawn: describe(picture, descriptor, drawn=drawn),
        descriptor,
        label=label,
        numbers=numbers,
    )


def described(
    examples: Sequence[dict[str, Any]],
    function: Callable[[np.ndarray, bool], np.ndarray],
    name: str,
    *,
    label: str,
    numbers: Sequence[int] | None = None,
) -> Iterator[Block]:
    """Applies a function to the picture of each example, with a progress bar.

    Args:
      examples: see `describe_blocks`.
      function: (picture [SIDE, SIDE] uint8, whether it is drawn) -> array of one shape.
      name: name of what it computes.
      label: see `describe_blocks`.
      numbers: see `describe_blocks`.

    Yields:
      Blocks with outputs {name: [b, ...]}.

    Raises:
      ValueError: when there are no examples.
    """
    if not len(examples):
        raise ValueError("there are no examples to describe; choose a split that has some")
    yield from mapped(
        examples,
        lambda batch: {name: np.stack([function(*one) for one in _pictures(batch)])},
        batch_size=BATCH_SIZE,
        label=f"{name} of {label}",
        numbers=numbers,
    )


def _pictures(batch: Batch) -> Iterator[tuple[np.ndarray, bool]]:
    """Yields the picture of each example that is not padding, and whether it is drawn."""
    real = int(batch["weight"].sum())
    if "points" in batch:
        drawings = plain_view({"points": batch["points"]}, size=SIDE, pen=SIDE_PEN)
        for picture in np.asarray(drawings)[:real]:
            yield picture, True
    else:
        for photo in batch["photo"][:real]:
            yield grey_picture(photo), False


class LinearClassifier(NamedTuple):
    """Scores = features @ weights + bias; the class is that of the largest score."""

    weights: np.ndarray  # [d, k] float64
    bias: np.ndarray  # [k] float64
    strength: float  # of the penalty on the weights

    def classes(self, features: np.ndarray) -> np.ndarray:
        """Classifies features [n, d]: [n] int."""
        scores: np.ndarray = features @ self.weights + self.bias
        return scores.argmax(axis=1)


def fit_linear(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
) -> LinearClassifier:
    """Fits a linear classifier by ridge regression to the class indicators.

    The penalty is the one of least leave-one-out error, known in closed form: no example besides
    those given decides anything.

    Args:
      features: [n, d] float.
      labels: [n] int.
      classes: k, the number of classes.

    Returns:
      The classifier.

    Raises:
      ValueError: for shapes that do not fit, or fewer than two examples.
    """
    n = len(features)
    if features.ndim != 2 or labels.shape != (n,) or n < 2:
        raise ValueError(
            f"features {features.shape} and labels {labels.shape}: expected [n, d] and [n], n at "
            "least 2; give each example a label"
        )
    mean = features.mean(axis=0, dtype=np.float64)
    wanted = np.eye(classes)[labels]
    fraction = wanted.mean(axis=0)
    left, squares, right = _thin_svd(features - mean)
    projected = left.T @ (wanted - fraction)  # [r, k]
    errors = [
        _leave_one_out_error(left, squares / (squares + strength), projected, wanted - fraction)
        for strength in STRENGTHS
    ]
    strength = STRENGTHS[int(np.argmin(errors))]
    weights = right @ ((np.sqrt(squares) / (squares + strength))[:, None] * projected)
    return LinearClassifier(weights, fraction - mean @ weights, strength)


def _thin_svd(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decomposes x [n, d] by the smaller Gram matrix: left [n, r], squared singular values [r], right
    [d, r].
    """
    wide = x.shape[1] > x.shape[0]
    squares, inner = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = squares > squares[-1] * max(x.shape) * np.finfo(np.float64).eps
    squares, inner = squares[kept], inner[:, kept]
    outer = (x.T if wide else x) @ inner / np.sqrt(squares)
    return (inner, squares, outer) if wide else (outer, squares, inner)


def _leave_one_out_error(
    left: np.ndarray, shrunk: np.ndarray, projected: np.ndarray, wanted: np.ndarray
) -> float:
    """Computes the mean squared error on each example of the fit to all others."""
    residual = wanted - left @ (shrunk[:, None] * projected)
    leverage = 1 / len(left) + np.square(left) @ shrunk  # 1 / n: the mean is fitted as well
    return float(np.mean(np.square(residual / (1 - leverage)[:, None])))
