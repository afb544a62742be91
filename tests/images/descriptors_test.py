"""HOG, raw pixels and SIFT: where the lines are and how they run, in cases that can be worked by hand."""

import math

import numpy as np
import pytest

from dsf_jax.images.descriptors import (
    BLOCK,
    CELL,
    ORIENTATIONS,
    SIDE,
    SIFT_CELLS,
    SIFT_STEP,
    dense_sift,
    describe,
    gradient_strength,
    grey_picture,
)

BLOCKS = SIDE // CELL - 1  # HOG's blocks overlap by a cell


def paper(**lines):
    """White paper with black rows and columns."""
    picture = np.full((SIDE, SIDE), 255, np.uint8)
    for row in lines.get("rows", ()):
        picture[row] = 0
    for column in lines.get("columns", ()):
        picture[:, column] = 0
    return picture


def orientations(vector):
    """HOG's histogram over the whole picture, [9]: bin 0 is a gradient along x or nearly so."""
    return vector.reshape(BLOCKS, BLOCKS, 2, 2, ORIENTATIONS).sum(axis=(0, 1, 2, 3))


def test_hog_tells_how_lines_run():
    upright, level = (
        orientations(describe(picture, "HOG", drawn=True))
        for picture in (paper(columns=[70]), paper(rows=[70]))
    )
    assert upright[0] > 0 and np.allclose(upright[1:], 0)
    assert level[ORIENTATIONS // 2] > 0 and np.allclose(np.delete(level, ORIENTATIONS // 2), 0)


def test_hog_tells_where_lines_are():
    blocks = describe(paper(columns=[SIDE - 5]), "HOG", drawn=True).reshape(BLOCKS, BLOCKS, -1)
    assert blocks[:, -1].any(axis=1).all() and not blocks[:, :-1].any()


def test_hog_takes_dark_and_light_lines_alike():
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    vector = describe(picture, "HOG", drawn=True)
    assert vector.shape == (BLOCKS * BLOCKS * 4 * ORIENTATIONS,) and vector.dtype == np.float32
    np.testing.assert_allclose(vector, describe(255 - picture, "HOG", drawn=False), atol=1e-6)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_raw_pixels_of_a_drawing_are_its_ink():
    picture = paper()
    picture[5, 9] = 0  # a pixel of block (1, 2)
    picture[6:8, 4 * BLOCK] = 0  # two of block (1, 4)
    got = describe(picture, "raw pixels", drawn=True).reshape(SIDE // BLOCK, -1)
    wanted = np.zeros_like(got)
    wanted[1, 2], wanted[1, 4] = 1 / 5**0.5, 2 / 5**0.5
    np.testing.assert_allclose(got, wanted, atol=1e-7)


def test_raw_pixels_of_a_photo_are_where_it_changes():
    photo = np.full((SIDE, SIDE), 40, np.uint8)
    photo[:, 2 * BLOCK + 1 :] = 200  # the change is seen from columns 8 and 9
    got = describe(photo, "raw pixels", drawn=False).reshape(SIDE // BLOCK, -1)
    assert np.flatnonzero(got.any(axis=0)).tolist() == [2]
    assert np.unique(got[:, 2]).size == 1


def test_gradients_of_a_slope():
    rows, columns = np.mgrid[:20, :20]
    strength = gradient_strength((3 * rows + 4 * columns).astype(np.uint8))
    np.testing.assert_allclose(strength, 5)


@pytest.mark.parametrize("descriptor", ["HOG", "raw pixels"])
def test_an_empty_picture_has_no_direction(descriptor):
    assert not describe(paper(), descriptor, drawn=True).any()


def test_photos_are_averaged_over_areas():
    photo = np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8)
    photo[0::2, 0::2] = 255  # one pixel in four
    assert np.unique(grey_picture(photo)).tolist() == [64]
    assert grey_picture(np.full((50, 70, 3), 9, np.uint8)).shape == (SIDE, SIDE)


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match=r"'SIFT' is unknown; choose one of HOG, raw pixels"):
        describe(paper(), "SIFT", drawn=True)
    with pytest.raises(ValueError, match=r"float64 \[128, 128\], expected uint8 \[128, 128\]"):
        describe(paper() / 255, "HOG", drawn=True)
    with pytest.raises(ValueError, match=r"uint8 \[64, 128\], expected"):
        describe(paper()[:64], "HOG", drawn=True)


def sift_by_hand(picture, x, y, cell):
    """One patch of SIFT around (x, y), pixel by pixel: a gradient counts for the two directions next to its
    own, and for a cell by the overlap of two of them.
    """
    grey = picture.astype(float)
    weights = np.convolve(np.ones(cell), np.ones(cell)) / cell**2  # over 2 cell - 1 pixels
    reach = range(-2 * (cell // 2), -2 * (cell // 2) + len(weights))
    found = np.zeros((4, 4, 8))
    for row, column in np.ndindex(4, 4):
        centre_y, centre_x = (int(c + (i - 1.5) * cell) for c, i in ((y, row), (x, column)))
        for (i, dy), (j, dx) in ((a, b) for a in enumerate(reach) for b in enumerate(reach)):
            v, u = centre_y + dy, centre_x + dx
            if not (1 <= v < SIDE - 1 and 1 <= u < SIDE - 1):
                continue
            down = (grey[v + 1, u] - grey[v - 1, u]) / 2
            right = (grey[v, u + 1] - grey[v, u - 1]) / 2
            turn = (math.atan2(down, right) / (2 * math.pi) * 8) % 8
            near = int(turn) % 8
            strength = math.hypot(down, right) * weights[i] * weights[j]
            found[row, column, near] += strength * (1 - turn % 1)
            found[row, column, (near + 1) % 8] += strength * (turn % 1)
    vector = found.ravel() / np.linalg.norm(found)
    vector = np.minimum(vector, 0.2)
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("cell", SIFT_CELLS)
def test_sift_equals_plain_loops(cell):
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    patches = dense_sift(picture)  # where all is noise, none is omitted
    counts = [(SIDE - 4 * c) // SIFT_STEP + 1 for c in SIFT_CELLS]
    assert patches.shape == (sum(n * n for n in counts), 130) and patches.dtype == np.float32
    at = SIFT_CELLS.index(cell)
    row, column = 3, 5
    got = patches[sum(n * n for n in counts[:at]) + row * counts[at] + column]
    y, x = 2 * cell + SIFT_STEP * row, 2 * cell + SIFT_STEP * column
    np.testing.assert_allclose(got[128:], [x / SIDE - 0.5, y / SIDE - 0.5], atol=1e-6)
    np.testing.assert_allclose(got[:128], sift_by_hand(picture, x, y, cell), atol=1e-4)


def test_sift_sees_how_lines_run_not_how_dark_they_are_and_nothing_on_white_paper():
    assert dense_sift(paper()).shape == (0, 130)
    upright, level = (dense_sift(paper(**lines)) for lines in ({"columns": [64]}, {"rows": [64]}))
    assert 0 < len(upright) == len(level)
    # Only the patches that the line crosses, or whose outer cells reach to it.
    assert np.abs(upright[:, 128]).max() <= 2.5 * max(SIFT_CELLS) / SIDE + 0.01
    assert np.abs(upright[:, 129]).max() > 0.3
    # To the right and to the left of an upright line: directions 0 and 4, and no others.
    assert set(np.flatnonzero(upright[:, :128].sum(axis=0) > 1e-3) % 8) == {0, 4}
    assert set(np.flatnonzero(level[:, :128].sum(axis=0) > 1e-3) % 8) == {2, 6}
    faint = 255 - (255 - paper(columns=[64])) // 5
    np.testing.assert_allclose(dense_sift(faint), upright, atol=1e-6)
