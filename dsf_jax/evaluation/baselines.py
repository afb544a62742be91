"""What the networks are compared with: hand-made descriptors of the same examples, and a linear
classifier.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from dsf_jax.data.batches import evaluation_groups
from dsf_jax.images.descriptors import SIDE, Descriptor, check_descriptor, describe, grey_picture
from dsf_jax.images.views import plain_view
from dsf_jax.retrieval.features import FeatureBlock, block_count

BATCH_SIZE = 64
STRENGTHS = tuple(10.0**power for power in range(-3, 4))


def described_size(descriptor: Descriptor) -> int:
    """Returns how many numbers a descriptor has; ValueError for an unknown one."""
    check_descriptor(descriptor)
    return len(describe(np.full((SIDE, SIDE), 255, np.uint8), descriptor, drawn=True))


def describe_blocks(
    examples: Sequence[dict[str, Any]],
    descriptor: Descriptor,
    *,
    label: str,
    numbers: Sequence[int] | None = None,
) -> Iterator[FeatureBlock]:
    """Describes drawings by their edge-preserving maps, photos in grey, with a progress bar.

    Args:
      examples: n drawings, as points, or photos.
      descriptor: see `describe`.
      label: of the progress bar.
      numbers: of the blocks of `BATCH_SIZE` wanted, in order; all by default.

    Yields:
      The blocks, {descriptor: [b, d] float32}, each row of length 1 (or 0 where nothing is drawn).

    Raises:
      ValueError: for an unknown descriptor, or no examples.
    """
    check_descriptor(descriptor)
    if not len(examples):
        raise ValueError("there are no examples to describe; choose a split that has some")
    if numbers is None:
        numbers = range(block_count(len(examples), BATCH_SIZE))
    total = sum(min(BATCH_SIZE, len(examples) - number * BATCH_SIZE) for number in numbers)
    with tqdm(total=total, unit="image", desc=f"{descriptor} of {label}") as bar:
        groups = evaluation_groups(examples, BATCH_SIZE, numbers=numbers)
        for number, group in zip(numbers, groups, strict=True):
            real = int(group["weight"].sum())
            drawn = "points" in group
            if drawn:
                pictures = np.asarray(plain_view({"points": group["points"]}, size=SIDE))
            else:
                pictures = np.stack([grey_picture(photo) for photo in group["photo"][:real]])
            vectors = np.stack([describe(x, descriptor, drawn=drawn) for x in pictures[:real]])
            first = number * BATCH_SIZE
            yield FeatureBlock(number, first, group["label"][:real], {descriptor: vectors})
            bar.update(real)


class LinearClassifier(NamedTuple):
    """Scores = features @ weights + bias; the class is the largest one's."""

    weights: np.ndarray  # [d, k] float64
    bias: np.ndarray  # [k] float64
    strength: float  # of the penalty on the weights

    def classes(self, features: np.ndarray) -> np.ndarray:
        """Classifies features [n, d]: [n] int."""
        return np.argmax(features @ self.weights + self.bias, axis=1)


def fit_linear(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
) -> LinearClassifier:
    """Fits a linear classifier by ridge regression to the class indicators.

    The penalty is the one of least leave-one-out error, known in closed form: no example beside
    those given decides anything.

    Args:
      features: [n, d] float.
      labels: [n] int.
      classes: k.
      strengths: of the penalty, to choose from; above 0.

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
    share = wanted.mean(axis=0)
    left, squares, right = _thin_svd(features - mean)
    projected = left.T @ (wanted - share)  # [r, k]
    errors = [
        _leave_one_out_error(left, squares / (squares + strength), projected, wanted - share)
        for strength in strengths
    ]
    strength = strengths[int(np.argmin(errors))]
    weights = right @ ((np.sqrt(squares) / (squares + strength))[:, None] * projected)
    return LinearClassifier(weights, share - mean @ weights, strength)


def _thin_svd(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[n, d] -> left [n, r], squared singular values [r], right [d, r], by the smaller Gram matrix."""
    wide = x.shape[1] > x.shape[0]
    squares, inner = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = squares > squares[-1] * max(x.shape) * np.finfo(np.float64).eps
    squares, inner = squares[kept], inner[:, kept]
    outer = (x.T if wide else x) @ inner / np.sqrt(squares)
    return (inner, squares, outer) if wide else (outer, squares, inner)


def _leave_one_out_error(
    left: np.ndarray, shrunk: np.ndarray, projected: np.ndarray, wanted: np.ndarray
) -> float:
    """The mean squared error on each example of the fit to all others."""
    residual = wanted - left @ (shrunk[:, None] * projected)
    leverage = 1 / len(left) + np.square(left) @ shrunk  # 1 / n: the mean is fitted as well
    return float(np.mean(np.square(residual / (1 - leverage)[:, None])))
