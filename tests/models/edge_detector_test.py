"""Edge detectors: HED against a forward pass of its own, structured forests and Canny by geometry."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf_jax.models import edge_detector
from dsf_jax.models.edge_detector import (
    StructuredForests,
    canny_edges,
    edges_from,
)
from dsf_jax.models.hed import HED, hed_strengths
from tests.models.hed_test import _disc, _photo, arrays, trained
from tests.models.hed_weights_test import _write_keras

__all__ = ["arrays", "trained"]  # fixtures

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]


def _assert_ring(edges: np.ndarray, *, within: float, arcs: int = 120) -> None:
    """Whether edges lie on the disc's outline, in so many of its arcs of 3 degrees."""
    rows, columns = np.argwhere(edges).T - 63.5
    radius, angle = np.hypot(rows, columns), np.degrees(np.arctan2(rows, columns)) % 360
    assert np.abs(radius - 40).max() < within
    assert len(np.unique(angle.astype(int) // 3)) >= arcs


@pytest.mark.slow
def test_trained_hed_finds_the_outline_of_a_disc_and_nothing_on_flat_photos(
    trained: tuple[HED, Any],
) -> None:
    disc = _disc((200, 120, 30), (90, 120, 160))
    flat = [np.full((128, 128, 3), grey, np.uint8) for grey in (0, 128, 255)]
    detect = edge_detector.edge_detector("hed", threshold=0.5)
    edges, *others = detect([disc, *flat])
    _assert_ring(edges, within=6, arcs=100)
    assert not any(other.any() for other in others)


# --- strength -> edges ----------------------------------------------------------------------------


@given(st.floats(0.01, 1.0), st.floats(0.0, 0.99), st.integers(0, 9))
def test_dividing_by_the_maximum_ignores_contrast(
    contrast: float, threshold: float, seed: int
) -> None:
    strength = np.random.default_rng(seed).random((6, 7))
    strength[2, 3] = 1.0
    edges = edges_from(strength, threshold=threshold)
    np.testing.assert_array_equal(edges, strength > threshold)
    faint = edges_from(strength * contrast, threshold=threshold)
    # Values that rounding moves across the threshold may differ.
    assert (faint == edges)[np.abs(strength - threshold) > 1e-9].all() and faint[2, 3]
    literal = edges_from(strength * contrast, threshold=threshold, normalise="none")
    np.testing.assert_array_equal(literal, strength * contrast > threshold)


def test_a_photo_without_an_edge_has_an_empty_map() -> None:
    zeros = np.zeros((5, 4), np.float32)
    assert edges_from(zeros).shape == (5, 4) and not edges_from(zeros).any()
    assert not edges_from(zeros, threshold=0.0).any()
    assert edges_from(zeros + 0.3).all()
    assert not edges_from(zeros + 0.3, faintest=0.5).any()
    assert edges_from(zeros + 0.5, faintest=0.5).all()


@pytest.mark.parametrize(
    ("strength", "options", "message"),
    [
        (np.zeros(4), {}, r"\[h, w\] with values in 0..1, got float64 \[4\]"),
        (np.zeros((0, 4)), {}, r"got float64 \[0, 4\]"),
        (np.full((2, 2), 255.0), {}, "divide grey levels by 255"),
        (np.full((2, 2), np.nan), {}, "values in 0..1"),
        (np.zeros((2, 2)), {"threshold": 1.0}, "threshold=1.0 must be at least 0 and below 1"),
        (np.zeros((2, 2)), {"threshold": -0.1}, "threshold=-0.1"),
        (np.zeros((2, 2)), {"normalise": "mean"}, "choose one of max, none"),
    ],
)
def test_bad_strength_or_options_are_named(
    strength: np.ndarray, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        edges_from(strength, **options)


# --- structured forests ---------------------------------------------------------------------------

_PATCH, _INNER, _SHRINK, _CHANNELS = 32, 16, 2, 13


def _write_forest(path: Path, *, without: str = "") -> Path:
    """One tree of one question: is the gradient in the middle of the patch strong? Then its middle
    4 x 4 pixels are an edge."""
    cells = _PATCH // _SHRINK
    magnitude, middle = 3, cells // 2  # channels 0 to 2 are colours
    question = magnitude * cells**2 + middle * cells + middle
    bins = [x * _INNER + y for x in range(6, 10) for y in range(6, 10)]
    options = {
        "stride": 2,
        "shrinkNumber": _SHRINK,
        "patchSize": _PATCH,
        "patchInnerSize": _INNER,
        "numberOfGradientOrientations": (_CHANNELS - 3) // 2 - 1,
        "gradientSmoothingRadius": 0,
        "regFeatureSmoothingRadius": 2,
        "ssFeatureSmoothingRadius": 8,
        "gradientNormalizationRadius": 4,
        "selfsimilarityGridSize": 5,
        "numberOfTrees": 1,
        "numberOfTreesToEvaluate": 1,
    }
    trees = {
        "childs": [2, 0, 0],  # counted from 1
        "featureIds": [question, 0, 0],
        "thresholds": [0.2, 0.0, 0.0],
        "edgeBoundaries": [0, 0, 0, len(bins)],
        "edgeBins": bins,
    }
    lines = [f"   {name}: {value}" for name, value in options.items() if name != without]
    lines = ["%YAML:1.0", "---", "options:", *lines]
    lines += [f"{name}:\n   - {value}" for name, value in trees.items() if name != without]
    path.write_text("\n".join(lines) + "\n")
    return path


def _needs_contrib() -> None:
    if not hasattr(pytest.importorskip("cv2"), "ximgproc"):
        pytest.skip("this OpenCV has no contrib modules")


@pytest.mark.parametrize("size", [(128, 128), (127, 93), (33, 200), (10, 12), (1, 1)])
def test_a_forest_finds_steps_and_nothing_else(size: tuple[int, int], tmp_path: Path) -> None:
    _needs_contrib()
    forest = StructuredForests(_write_forest(tmp_path / "model.yml"))
    flat = forest(np.full((*size, 3), 99, np.uint8))
    assert flat.shape == size and flat.dtype == np.float32 and not flat.any()
    column = size[1] // 2
    photo = np.full((*size, 3), 40, np.uint8)
    photo[:, column:] = 220
    strength = forest(photo)
    assert strength.shape == size and 0 <= strength.min() <= strength.max() <= 1
    if min(size) >= 32:
        rows, columns = np.argwhere(edges_from(strength, threshold=0.5)).T
        assert np.abs(columns - column).max() < 8
        # A patch answers for its middle alone: nothing is found close to the border.
        assert len(set(rows)) > size[0] - 20


def test_a_forest_takes_rgb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _needs_contrib()
    forest = StructuredForests(_write_forest(tmp_path / "model.yml"))
    seen: list[np.ndarray] = []

    def detect(photo: np.ndarray) -> np.ndarray:
        seen.append(photo)
        return np.full(photo.shape[:2], 1.5, np.float32)

    monkeypatch.setattr(forest, "_forest", types.SimpleNamespace(detectEdges=detect))
    photo = _photo(0, 40, 50)
    assert (forest(photo) == 1.0).all()
    np.testing.assert_array_equal(seen[0], photo / np.float32(255))


def test_missing_and_broken_models_are_named(tmp_path: Path) -> None:
    _needs_contrib()
    with pytest.raises(
        FileNotFoundError, match=r"no\.yml\.gz: .* choose the detector hed or canny"
    ):
        StructuredForests(tmp_path / "no.yml.gz")
    broken = tmp_path / "broken.yml"
    for content in ("", "hello", "%YAML:1.0\n---\noptions: 3\n", "%YAML:1.0\n---\na: [1,\n"):
        broken.write_text(content)
        with pytest.raises(
            ValueError,
            match=r"broken\.yml: not a model of \S+ forests \((it has no options|OpenCV)",
        ) as caught:
            StructuredForests(broken)
        assert "\n" not in str(caught.value)
    for part in ("patchSize", "numberOfTrees", "edgeBins"):
        with pytest.raises(ValueError, match=part):
            StructuredForests(_write_forest(broken, without=part))


def test_opencv_without_contrib_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", types.ModuleType("cv2"))
    with pytest.raises(ImportError, match="pip install opencv-contrib-python-headless"):
        StructuredForests(tmp_path / "model.yml.gz")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match="OpenCV is not installed; `pip install opencv"):
        canny_edges(_photo(0, 8, 8))


# --- choosing a detector --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detector", "options", "message"),
    [
        ("sobel", {}, "choose one of hed, structured, canny"),
        ("canny", {"weights": "x.h5"}, "weights='x.h5': Canny has none"),
        ("structured", {}, "need the path of their model file"),
        ("canny", {"threshold": 2.0}, "threshold=2.0"),
        ("canny", {"normalise": "mean"}, "choose one of max, none"),
    ],
)
def test_bad_choices_are_named(detector: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        edge_detector.edge_detector(detector, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_every_detector_yields_one_map_a_photo(arrays: Arrays, tmp_path: Path) -> None:
    _needs_contrib()
    photos = [_photo(0, 40, 50), _photo(1, 64, 33)]
    weights = {
        "hed": _write_keras(tmp_path / "x.h5", arrays),
        "structured": _write_forest(tmp_path / "model.yml"),
        "canny": None,
    }
    for name, path in weights.items():
        maps = list(edge_detector.edge_detector(name, weights=path)(iter(photos)))  # type: ignore
        assert [edges.shape for edges in maps] == [(40, 50), (64, 33)]
        assert all(edges.dtype == bool for edges in maps)


@pytest.mark.parametrize("find", [canny_edges, lambda p: list(hed_strengths(HED(), {}, [p]))])
@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 \[h, w, 3\], got uint8 \[4, 4\]"),
        (np.zeros((4, 4, 3)), r"got float64 \[4, 4, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), r"got uint8 \[0, 4, 3\]"),
    ],
)
def test_what_is_no_photo_is_named(find: Any, photo: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        find(photo)
    assert "\n" not in str(caught.value)


# --- Canny ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ((200, 30, 30), (255, 255, 255)),
        ((255, 255, 255), (0, 0, 0)),
        ((208, 207, 206), (255, 255, 255)),
        ((200, 0, 0), (0, 102, 0)),  # the same grey: 0.299 * 200 = 0.587 * 102
    ],
)
def test_the_edge_of_a_disc_is_a_closed_ring(
    inside: tuple[int, int, int], outside: tuple[int, int, int]
) -> None:
    edges = canny_edges(_disc(inside, outside))
    assert edges.dtype == bool and edges.shape == (128, 128)
    _assert_ring(edges, within=2)
    assert edges.sum() < 8 * 40  # thinner than a ring whose pixels touch by their sides


def test_a_flat_photo_has_no_edges() -> None:
    assert not canny_edges(np.full((9, 7, 3), 128, np.uint8)).any()


def test_smoothing_removes_speckles() -> None:
    photo = np.full((64, 64, 3), 128, np.uint8)
    photo[::8, ::8] = 168
    assert canny_edges(photo, sigma=0.0).any()
    assert not canny_edges(photo, sigma=2.0).any()


def test_a_weak_edge_counts_only_above_the_thresholds() -> None:
    photo = _disc((120, 120, 120), (100, 100, 100))
    assert not canny_edges(photo, high=200.0).any()
    assert canny_edges(photo, low=10.0, high=20.0).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": -1.0}, "sigma=-1.0"),
        ({"low": 9.0, "high": 3.0}, "low=9.0, high=3.0"),
    ],
)
def test_bad_options_of_canny_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        canny_edges(np.zeros((4, 4, 3), np.uint8), **options)
    assert "\n" not in str(caught.value)
