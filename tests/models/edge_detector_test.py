"""Canny's edges against shapes whose outlines are known."""

import numpy as np
import pytest

from dsf_jax.models.edge_detector import canny_edges


def _disc(inside: tuple[int, int, int], outside: tuple[int, int, int]) -> np.ndarray:
    """A disc of radius 40 in the middle of a 128x128 photo."""
    rows, columns = np.mgrid[:128, :128] - 63.5
    disc = np.hypot(rows, columns) < 40
    return np.where(disc[..., None], np.uint8(inside), np.uint8(outside))


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
    rows, columns = np.argwhere(edges).T - 63.5
    radius, angle = np.hypot(rows, columns), np.degrees(np.arctan2(rows, columns)) % 360
    assert np.abs(radius - 40).max() < 2
    assert len(np.unique(angle.astype(int) // 3)) == 120  # no gap wider than 3 degrees
    assert len(rows) < 8 * 40  # thinner than a ring whose pixels touch by their sides


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
    ("photo", "options", "message"),
    [
        (np.zeros((4, 4), np.uint8), {}, r"uint8 \[h, w, 3\], got uint8 \[4, 4\]"),
        (np.zeros((4, 4, 3)), {}, r"got float64 \[4, 4, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), {}, r"got uint8 \[0, 4, 3\]"),
        (np.zeros((4, 4, 3), np.uint8), {"sigma": -1.0}, "sigma=-1.0"),
        (np.zeros((4, 4, 3), np.uint8), {"low": 9.0, "high": 3.0}, "low=9.0, high=3.0"),
    ],
)
def test_bad_input_is_named(photo: np.ndarray, options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        canny_edges(photo, **options)
    assert "\n" not in str(caught.value)
