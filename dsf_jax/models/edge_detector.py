"""Edge detectors: a photo becomes an edge map, which is then a sketch like any other.

Three of them, the most useful for retrieval by sketch first:

- HED, learned: see `dsf_jax.models.hed`.
- Structured forests (Dollar and Zitnick, ICCV 2013), learned too and most likely the paper's own,
  through OpenCV's contrib modules, with a model file that the user provides.
- Canny, through OpenCV, needs no weights. It marks every change of colour alike, texture and
  outline: good for flat artwork.

The learned ones give every pixel a strength in 0..1; `edges_from` makes an edge map of it.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from dsf_jax.models.hed import HED_FAINTEST, check_photo, hed_strengths
from dsf_jax.models.hed_weights import read_hed

Detector = Literal["hed", "structured", "canny"]
Normalise = Literal["max", "none"]


def edges_from(
    strength: np.ndarray,
    *,
    threshold: float = 0.9,
    normalise: Normalise = "max",
    faintest: float = 0.0,
) -> np.ndarray:
    """Keeps the pixels whose edge is strong: the paper's edge maps are binarised at 0.9.

    Args:
      strength: [h, w] float, in 0..1.
      threshold: strength above which a pixel is an edge, in [0, 1).
      normalise: "max" divides by the strongest edge of the photo first, so that photos of little
        contrast also keep their outlines. "none" is the literal reading, and leaves many photos
        nearly empty.
      faintest: least strength of a photo's strongest edge; under "max", a photo without one has an empty
        map.

    Returns:
      [h, w] bool, True on an edge.

    Raises:
      ValueError: for another rank or values outside 0..1, a threshold outside [0, 1), or an unknown
        normalisation.
    """
    check_edges_options(threshold, normalise)
    if strength.ndim != 2 or not strength.size or not 0.0 <= strength.min() <= strength.max() <= 1:
        raise ValueError(
            f"strength must be [h, w] with values in 0..1, got {strength.dtype} "
            f"{list(strength.shape)}; divide grey levels by 255"
        )
    if normalise == "none":
        return strength > threshold
    strongest = strength.max()
    return (strength > threshold * strongest) & (strongest >= faintest)


def check_edges_options(threshold: float, normalise: str) -> None:
    """Raises ValueError for what `edges_from` does not take."""
    if not 0.0 <= threshold < 1.0:
        raise ValueError(f"threshold={threshold} must be at least 0 and below 1")
    if normalise not in get_args(Normalise):
        raise ValueError(
            f"normalise={normalise!r} is unknown; choose one of {', '.join(get_args(Normalise))}"
        )


def edge_detector(
    detector: Detector = "hed",
    *,
    weights: str | Path | None = None,
    threshold: float = 0.9,
    normalise: Normalise = "max",
) -> Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]:
    """Chooses a detector and loads what it needs.

    Args:
      detector: name of the detector.
      weights: weight file: for "hed" see `read_hed`; for "structured" the model file; "canny" has
        none.
      threshold: see `edges_from`; Canny's edges have no strength, and ignore it.
      normalise: see `edges_from`; Canny ignores it, too.

    Returns:
      A function of photos, uint8 [h, w, 3] of any sizes, that yields their edge maps, bool [h, w],
      in order.

    Raises:
      ValueError: for an unknown detector or option, weights for Canny or none for structured
        forests, and whatever the readers of weights raise.
    """
    check_edges_options(threshold, normalise)
    if detector not in get_args(Detector):
        raise ValueError(
            f"detector={detector!r} is unknown; choose one of {', '.join(get_args(Detector))}"
        )
    if detector == "canny":
        if weights is not None:
            raise ValueError(f"weights={str(weights)!r}: Canny has none; omit the option")
        return functools.partial(map, canny_edges)
    strengths, faintest = _learned(detector, weights)
    keep = functools.partial(
        edges_from, threshold=threshold, normalise=normalise, faintest=faintest
    )
    return lambda photos: map(keep, strengths(photos))


def _learned(
    detector: Literal["hed", "structured"], weights: str | Path | None
) -> tuple[Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]], float]:
    """Loads a learned detector: photos -> strengths, and the faintest edge that counts."""
    if detector == "hed":
        return functools.partial(hed_strengths, *read_hed(weights)), HED_FAINTEST
    if weights is None:
        raise ValueError(
            "structured forests need the path of their model file as weights: model.yml.gz of "
            "OpenCV's opencv_extra (non-commercial licence); or choose the detector hed or canny"
        )
    return functools.partial(map, StructuredForests(weights)), 0.0


def _opencv() -> Any:
    """Imports OpenCV, which only two of the detectors need."""
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "OpenCV is not installed; `pip install opencv-contrib-python-headless`, or choose the "
            "detector hed"
        ) from error
    return cv2


def _opencv_contrib() -> Any:
    """Imports OpenCV with its contrib modules."""
    cv2 = _opencv()
    if not hasattr(cv2, "ximgproc"):
        raise ImportError(
            "this OpenCV has no ximgproc, which structured forests need; `pip uninstall "
            "opencv-python-headless; pip install opencv-contrib-python-headless`, or choose the "
            "detector hed or canny"
        )
    return cv2


class StructuredForests:
    """Structured forests for fast edge detection: photo -> strength, through OpenCV.

    OpenCV follows the numbers of the model file unchecked: take one from a source that you trust.
    """

    # OpenCV's forest works in windows of 32 pixels and expects photos of at least that size.
    _SMALLEST = 32

    def __init__(self, model: str | Path) -> None:
        """Loads a forest.

        Args:
          model: file of the forest, model.yml.gz or another one in that format.

        Raises:
          ImportError: where OpenCV or its contrib modules are not installed.
          FileNotFoundError: without the file.
          ValueError: for a file of another format.
        """
        cv2 = _opencv_contrib()
        try:
            _check_forest(cv2, str(model))
            self._forest = cv2.ximgproc.createStructuredEdgeDetection(str(model))
        except (cv2.error, ValueError, SystemError) as error:
            # The parser's errors come wrapped in a SystemError.
            reason = " ".join(str(error.__cause__ or error).split())
            raise ValueError(
                f"{model}: not a model of structured forests ({reason}); give OpenCV's model.yml.gz"
            ) from error

    def __call__(self, photo: np.ndarray) -> np.ndarray:
        """Finds the strength of edges.

        Args:
          photo: [h, w, 3] uint8, RGB.

        Returns:
          [h, w] float32 in 0..1.

        Raises:
          ValueError: for what is no such photo.
        """
        check_photo(photo)
        height, width = photo.shape[:2]
        missing = [(0, max(0, self._SMALLEST - side)) for side in (height, width)]
        padded = np.pad(photo, [*missing, (0, 0)], mode="edge").astype(np.float32) / 255.0
        return np.clip(self._forest.detectEdges(padded)[:height, :width], 0.0, 1.0)


_FOREST_OPTIONS = (
    "stride",
    "shrinkNumber",
    "patchSize",
    "patchInnerSize",
    "numberOfGradientOrientations",
    "selfsimilarityGridSize",
    "numberOfTrees",
    "numberOfTreesToEvaluate",
)
_FOREST_TREES = ("childs", "featureIds", "thresholds", "edgeBoundaries", "edgeBins")


def _check_forest(cv2: Any, model: str) -> None:
    """Raises for a missing model file, or one without a part that OpenCV takes for granted.

    OpenCV would divide by a missing option, taken for 0, and end the process.
    """
    if not Path(model).is_file():
        raise FileNotFoundError(
            f"{model}: no such model of structured forests; fetch model.yml.gz of OpenCV's "
            "opencv_extra (non-commercial licence), or choose the detector hed or canny"
        )
    storage = cv2.FileStorage(model, cv2.FILE_STORAGE_READ)
    options = storage.getNode("options")
    if not options.isMap():
        raise ValueError("it has no options")
    for name in _FOREST_OPTIONS:
        node = options.getNode(name)
        if not node.isInt() or node.real() < 1:
            raise ValueError(f"its options lack a positive {name}")
    for name in _FOREST_TREES:
        if not storage.getNode(name).isSeq():
            raise ValueError(f"it lacks {name}")


def canny_edges(
    photo: np.ndarray, *, sigma: float = 1.0, low: float = 50.0, high: float = 100.0
) -> np.ndarray:
    """Finds the edges of a photo with Canny's detector: lines one pixel wide.

    The gradient at a pixel is the strongest of the three colour channels', so that neighbouring
    colours of the same brightness are separated, too.

    Args:
      photo: [h, w, 3] uint8, RGB.
      sigma: standard deviation of the Gaussian that smooths the photo first, in pixels; 0 smooths
        nothing.
      low: gradient above which a pixel continues an edge, at least 0; in grey levels per pixel
        times 8, the gain of the 3x3 Sobel filter.
      high: gradient above which a pixel starts an edge, in the same unit, at least `low`.

    Returns:
      [h, w] bool, True on an edge.

    Raises:
      ImportError: where OpenCV is not installed.
      ValueError: for another dtype or shape, a negative sigma, or thresholds out of order.
    """
    check_photo(photo)
    if not 0.0 <= sigma < float("inf"):
        raise ValueError(f"sigma={sigma} must be 0 or a positive number of pixels")
    if not 0.0 <= low <= high:
        raise ValueError(f"low={low}, high={high}: need 0 <= low <= high")
    cv2 = _opencv()
    smooth = cv2.GaussianBlur(photo, (0, 0), sigma) if sigma else photo
    return cv2.Canny(smooth, low, high, apertureSize=3, L2gradient=True) > 0
