"""Fisher vectors of dense SIFT (Sanchez et al. 2013), the strongest descriptor of sketches before networks:
a picture by how its patches differ from a mixture of Gaussians that was fitted to patches of others.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from dsf_jax.data.batches import Block
from dsf_jax.evaluation.baselines import described
from dsf_jax.images.descriptors import SIFT_SIZE, dense_sift

FISHER = "SIFT + Fisher"
COMPONENTS = 64
DIMENSIONS = 48  # of SIFT's 128, by principal component analysis
PLACE_WEIGHT = 0.5  # of a patch's place beside its SIFT, which has length 1
PICTURES, PATCHES = 1000, 30  # of each domain, and of each picture, that the mixture is fitted to
ITERATIONS = 50
SEED = 0
LENGTH = COMPONENTS * (2 * (DIMENSIONS + 2) + 1)


class Vocabulary(NamedTuple):
    """What patches are compared with.

    Attributes:
      mean: [128] mean SIFT.
      axes: [128, DIMENSIONS] principal axes.
      mixture: scikit-learn's GaussianMixture of projected SIFT and weighted places.
    """

    mean: np.ndarray
    axes: np.ndarray
    mixture: Any

    def projected(self, patches: np.ndarray) -> np.ndarray:
        """Projects patches [m, 130] of `dense_sift`: [m, DIMENSIONS + 2]."""
        return _projected(patches, self.mean, self.axes)


def configuration() -> dict[str, Any]:
    """Describes the features for a result's configuration."""
    fitted = (
        f"{PATCHES} patches of each of up to {PICTURES} drawings and {PICTURES} photos, of those trained on or, "
        "where nothing is trained, of those compared; without labels"
    )
    return {
        "descriptor": FISHER,
        "components": COMPONENTS,
        "dimensions": DIMENSIONS,
        "place_weight": PLACE_WEIGHT,
        "fitted_to": fitted,
    }


def check_installed() -> None:
    """Raises ImportError, with what to do about it, unless scikit-learn is installed."""
    try:
        import sklearn.mixture  # noqa: F401  # takes seconds: only where it is used
    except ImportError as error:
        raise ImportError(
            f"scikit-learn, which {FISHER} needs, is not installed; run `pip install scikit-learn` or install "
            "this project's extra `baselines`"
        ) from error


def fit_vocabulary(domains: Sequence[Sequence[dict[str, Any]]]) -> Vocabulary:
    """Fits the mixture to patches of drawings and photos.

    Args:
      domains: drawings, and photos; either may be empty.

    Returns:
      The vocabulary, the same for the same examples.

    Raises:
      ImportError: when scikit-learn is not installed.
      ValueError: when there are fewer patches than the mixture has components.
    """
    check_installed()
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    patches = np.concatenate(
        [np.zeros((0, SIFT_SIZE + 2), np.float32), *(_sampled(own) for own in domains if len(own))]
    )
    if len(patches) < COMPONENTS:
        raise ValueError(
            f"the pictures show {len(patches)} patches, {FISHER} needs {COMPONENTS} at least; give more"
        )
    sift = patches[:, :SIFT_SIZE].astype(np.float64)
    mean = sift.mean(axis=0)
    _, vectors = np.linalg.eigh((sift - mean).T @ (sift - mean))
    axes = vectors[:, ::-1][:, :DIMENSIONS]
    mixture = GaussianMixture(
        COMPONENTS, covariance_type="diag", max_iter=ITERATIONS, random_state=SEED
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a good mixture need not be the best
        mixture.fit(_projected(patches, mean, axes))
    return Vocabulary(mean, axes, mixture)


def _projected(patches: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    sift, places = patches[:, :SIFT_SIZE], patches[:, SIFT_SIZE:]
    return np.concatenate([(sift - mean) @ axes, PLACE_WEIGHT * places], axis=1)


def _sampled(examples: Sequence[dict[str, Any]]) -> np.ndarray:
    """Draws patches of some of the pictures: [m, 130]."""
    random = np.random.default_rng(SEED)
    chosen = np.sort(random.permutation(len(examples))[:PICTURES])

    def draw(picture: np.ndarray, drawn: bool) -> np.ndarray:
        del drawn
        patches = dense_sift(picture)
        rows = np.full((PATCHES, SIFT_SIZE + 2), np.nan, np.float32)  # where there are fewer
        some = patches[random.permutation(len(patches))[:PATCHES]]
        rows[: len(some)] = some
        return rows

    blocks = described(
        [examples[i] for i in chosen.tolist()], draw, "patches", label="the vocabulary"
    )
    drawn = np.concatenate([block.outputs["patches"] for block in blocks]).reshape(
        -1, SIFT_SIZE + 2
    )
    return drawn[~np.isnan(drawn).any(axis=1)]


def fisher_vector_of(picture: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Describes one picture.

    Args:
      picture: [SIDE, SIDE] uint8, grey.
      vocabulary: what its patches are compared with.

    Returns:
      [LENGTH] float32 of length 1, or of zeros where the picture shows nothing.
    """
    from skimage.feature import fisher_vector

    patches = dense_sift(picture)
    if not len(patches):
        return np.zeros(LENGTH, np.float32)
    projected = vocabulary.projected(patches)
    vector: np.ndarray = fisher_vector(projected, vocabulary.mixture, improved=True)
    return vector.astype(np.float32)


def fisher_blocks(
    examples: Sequence[dict[str, Any]],
    vocabulary: Vocabulary,
    *,
    label: str,
    numbers: Sequence[int] | None = None,
) -> Iterator[Block]:
    """Describes examples, see `baselines.described`: blocks with outputs {FISHER: [b, LENGTH]}."""
    yield from described(
        examples,
        lambda picture, _: fisher_vector_of(picture, vocabulary),
        FISHER,
        label=label,
        numbers=numbers,
    )
