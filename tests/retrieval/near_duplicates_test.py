"""Near-duplicates are joined, and others are not: made pairs, and the plain correlation."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dsf_jax.retrieval.near_duplicates import group, shrink

COPIES = {
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "quarter": lambda image: image.resize((image.width // 4, image.height // 4)),
    "stretched": lambda image: image.resize((256, 256)),
    "jpeg": lambda image: saved(image, "JPEG", 40),
    "webp": lambda image: saved(image, "WEBP", 50),
    "half jpeg": lambda image: saved(COPIES["half"](image), "JPEG", 40),
    "lighter": lambda image: image.point(lambda value: min(255, value * 1.1)),
}
OTHERS = {
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "negative": lambda image: image.point(lambda value: 255 - value),
    "a part": lambda image: image.crop((60, 40, 300, 280)),
}


def saved(image, format, quality):
    buffer = io.BytesIO()
    image.save(buffer, format, quality=quality)
    return Image.open(buffer).convert("RGB")


def photo(seed):
    """Something like a photo: blurred areas, outlines, grain."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((480, 360))
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = (int(rng.integers(0, side - 100)) for side in image.size)
        colour = tuple(rng.integers(0, 256, 3).tolist())
        pen.ellipse((x, y, x + 90, y + 70), fill=colour, outline="black", width=3)
    grain = rng.normal(0, 6, (360, 480, 3))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def shrunk(*images):
    return [shrink(np.asarray(image)) for image in images]


def test_copies_are_joined():
    images = [photo(seed) for seed in range(4)]
    copies = [change(image) for change in COPIES.values() for image in images]
    groups = group(shrunk(*images, *copies))
    assert groups == [list(range(i, 4 * (1 + len(COPIES)), 4)) for i in range(4)]


def test_other_pictures_are_not():
    images = [photo(seed) for seed in range(30)]
    changed = [change(images[0]) for change in OTHERS.values()]
    assert group(shrunk(*images, *changed)) == [[i] for i in range(34)]


def test_they_are_joined_from_a_correlation_of_99_in_100():
    rng = np.random.default_rng(0)
    first = rng.integers(60, 190, (16, 16, 3), np.uint8)
    near = []
    for amount in np.linspace(1, 12, 80):
        noise = rng.normal(0, amount, first.shape)
        near.append(np.clip(first + noise, 0, 255).astype(np.uint8))
    wanted = [np.corrcoef(first.ravel(), other.ravel())[0, 1] >= 0.99 for other in near]
    found = [len(group([first, other])) == 1 for other in near]
    assert found == wanted and 10 < sum(wanted) < 70


def test_the_first_one_counts_and_order_stays():
    a, b = (np.asarray(x, np.int64) for x in shrunk(photo(0), photo(1)))
    chain = [((1 - t) * a + t * b).astype(np.uint8) for t in np.linspace(0, 1, 30)]
    groups = group(chain)
    assert len(groups) > 2 and sorted(place for one in groups for place in one) == [*range(30)]
    assert [members[0] for members in groups] == sorted(members[0] for members in groups)
    assert all(members == sorted(members) for members in groups)


def test_pictures_of_one_colour_are_like_nothing():
    blank = [np.full((16, 16, 3), value, np.uint8) for value in (0, 0, 255)]
    assert group(blank) == [[0], [1], [2]] and group([]) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (16, 16)])
def test_any_shape_is_shrunk(size):
    assert shrink(np.zeros((*size, 3), np.uint8)).shape == (16, 16, 3)
