"""Scans in bad light show their ink, and drawings are told apart from photos."""

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from dsf_jax.images.scan import looks_drawn, scanned
from tests.app.made import drawn, sheet


@pytest.mark.slow
@pytest.mark.parametrize(
    "paper",
    [
        {},
        {"light": 0.6},  # the paper at the right is darker than a pencil at the left
        {"noise": 6},
        {"pen": 170, "light": 0.5, "noise": 3},  # a pencil
        {"pen": 0, "paper": 255},
    ],
)
@pytest.mark.parametrize("inverted", [False, True])
def test_ink_is_found_in_any_light(paper, inverted):
    picture, mask = sheet(**paper)
    ink = scanned(255 - picture if inverted and not paper.get("light") else picture).ink
    assert (ink & mask).sum() > 0.97 * mask.sum()
    near = scipy.ndimage.binary_dilation(mask, iterations=2)
    assert (ink & ~near).sum() < 0.01 * mask.sum()


def test_paper_without_strokes_is_refused():
    for noise in (0, 2):
        with pytest.raises(ValueError, match=r"shows no strokes.*; use a darker pen"):
            scanned(sheet(pen=235, noise=noise)[0])


def test_photos_and_drawings_are_told_apart():
    rng = np.random.default_rng(0)
    smooth = np.asarray(
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((320, 240))
    )
    assert not looks_drawn(smooth)
    assert not looks_drawn(np.repeat(smooth[..., :1], 3, axis=-1))  # a grey photo
    assert not looks_drawn(drawn("square", 0))
    assert looks_drawn(sheet(light=0.5, noise=3)[0])
    coloured = sheet()[0].copy()
    coloured[sheet()[1]] = (200, 30, 30)  # a red pen
    assert looks_drawn(coloured)
