import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from dsf_jax.images import points as P
from dsf_jax.images import views
from dsf_jax.images.resize import edge_preserving_resize, interpolating_resize

from .drawn import random_points

rng = np.random.default_rng(0)
POINTS = P.pad_points([random_points(rng, 500)])[0]
LINEAR = Image.Resampling.BILINEAR
PHOTO = rng.integers(0, 256, (256, 256, 3)).astype(np.uint8)


def lines(size, seed=0):
    """A drawing of grey lines, without symmetry, that leaves paper at the border."""
    picture = Image.new("L", (4 * size, 4 * size), "white")
    pen = ImageDraw.Draw(picture)
    ends = np.random.default_rng(seed).uniform(size, 3 * size, (6, 2))
    pen.line([tuple(end) for end in ends], fill=0, width=size // 8)
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


DRAWING = lines(64)


def test_sketch_views_are_nine_angles_each_plain_and_flipped():
    made = np.asarray(views.sketch_views(POINTS))
    assert made.shape == (18, 227, 227)
    one_by_one = [
        edge_preserving_resize(POINTS, -45 + 11.25 * i, flip)
        for i in range(9)
        for flip in (False, True)
    ]
    np.testing.assert_array_equal(made, one_by_one)
    assert len({view.tobytes() for view in made}) == 18


def test_photo_views_are_a_grid_of_patches_each_plain_and_flipped():
    made = np.asarray(views.photo_views(PHOTO))
    expected = []
    for top in (0, 14, 29):
        for left in (0, 14, 29):
            patch = PHOTO[top : top + 227, left : left + 227]
            expected += [patch, patch[:, ::-1]]
    np.testing.assert_array_equal(made, expected)


def test_all_views_is_the_same_for_a_batch():
    drawings, photos = {"points": np.stack([POINTS, POINTS])}, {"photo": PHOTO[None]}
    np.testing.assert_array_equal(views.all_views(drawings)[1], views.sketch_views(POINTS))
    np.testing.assert_array_equal(views.all_views(photos)[0], views.photo_views(PHOTO))


def test_plain_view_is_the_upright_sketch_and_the_middle_patch():
    np.testing.assert_array_equal(
        views.plain_view({"points": POINTS[None]})[0], edge_preserving_resize(POINTS)
    )
    np.testing.assert_array_equal(
        views.plain_view({"photo": PHOTO[None]})[0], PHOTO[14:241, 14:241]
    )


@pytest.mark.parametrize(
    ("group", "size"),
    [
        ({"points": POINTS}, 67),
        ({"photo": PHOTO}, 67),
        pytest.param({"drawing": DRAWING}, 64, marks=pytest.mark.slow),
    ],
    ids=["sketch", "photo", "drawing"],
)
def test_a_query_is_shown_by_its_plain_view_first(group, size):
    """Alone, with its mirror image, or with the 17 others."""
    two = jax.tree.map(lambda x: np.stack([x, x[::-1]]), group)
    plain = np.asarray(views.plain_view(two, size=size))
    one, mirrored, every = (
        np.asarray(views.query_views(two, choice, size=size))
        for choice in ("one", "mirrored", "all")
    )
    np.testing.assert_array_equal(one, plain[:, None])
    np.testing.assert_array_equal(mirrored, np.stack([plain, np.flip(plain, axis=2)], axis=1))
    np.testing.assert_array_equal(every[:, :2], mirrored)
    order = [*range(8, 18), *range(8)]
    np.testing.assert_array_equal(every, np.asarray(views.all_views(two, size=size))[:, order])


def test_an_unknown_choice_of_views_is_named():
    with pytest.raises(
        ValueError, match="views='two' is unknown; choose one of one, mirrored, all"
    ):
        views.query_views({"photo": PHOTO[None]}, "two")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "size"),
    [({"points": POINTS}, 227), ({"photo": PHOTO}, 227), ({"drawing": DRAWING}, 64)],
    ids=["sketch", "photo", "drawing"],
)
def test_random_views_are_the_18_each_about_equally_often(group, size):
    one = jax.tree.map(lambda x: x[None], group)
    all_18 = [view.tobytes() for view in np.asarray(views.all_views(one, size=size)[0])]
    keys = jax.random.split(jax.random.key(0), 360)
    drawn = []
    for part in keys.reshape(10, 36):
        repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (36, *x.shape)), group)
        made = np.asarray(views.random_view(part, repeated, size=size))
        drawn += [all_18.index(view.tobytes()) for view in made]
    counts = np.bincount(drawn, minlength=18)
    assert counts.min() >= 6 and counts.max() <= 40  # 20 expected; 3 to 4 sigma


def test_a_random_view_follows_from_its_key_alone():
    keys = jax.random.split(jax.random.key(3), 4)
    group = {"points": np.stack([POINTS] * 4)}
    together = views.random_view(keys, group)
    alone = views.random_view(keys[2:3], {"points": POINTS[None]})
    np.testing.assert_array_equal(together[2], alone[0])


@pytest.mark.slow
def test_a_patch_larger_than_photos_is_cut_of_an_enlarged_photo():
    """260 of 292, as 224 of 256: each patch shows what a smaller one would."""
    smooth = np.asarray(Image.fromarray(PHOTO).resize((8, 8)).resize((256, 256), LINEAR))
    made = np.asarray(views.photo_views(smooth, size=260))
    assert made.shape == (18, 260, 260, 3) and made.dtype == np.uint8
    enlarged = np.asarray(Image.fromarray(smooth).resize((292, 292), LINEAR), np.int32)
    for i, (top, left) in enumerate((top, left) for top in (0, 16, 32) for left in (0, 16, 32)):
        patch = enlarged[top : top + 260, left : left + 260]
        assert np.abs(made[2 * i] - patch).max() <= 1
    plain = views.plain_view({"photo": smooth[None]}, size=260)[0]
    np.testing.assert_array_equal(plain, made[8])
    chosen = views.random_photo_view(jax.random.key(0), smooth, size=260)
    assert chosen.tobytes() in {view.tobytes() for view in made}


def test_a_photo_smaller_than_the_patch_is_refused():
    with pytest.raises(ValueError, match="patches of size=227 do not fit into a photo of 200"):
        views.photo_views(np.zeros((200, 200, 3), np.uint8))


def turned_by_scipy(drawing, angle, flip):
    """Each pixel's centre is turned back about the middle, then mirrored: in float64, with the
    angle counter-clockwise as seen, y down."""
    n = len(drawing)
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    radians = np.deg2rad(angle)
    from_x = np.cos(radians) * x - np.sin(radians) * y
    from_y = np.sin(radians) * x + np.cos(radians) * y
    source = np.stack([from_y, -from_x if flip else from_x]) + (n - 1) / 2
    return ndimage.map_coordinates(drawing.astype(float), source, order=1, cval=255.0)


@pytest.mark.slow
@pytest.mark.parametrize("size", [63, 64])
def test_views_of_a_resized_drawing_are_those_of_scipy(size):
    drawing = lines(size)
    made = np.asarray(views.drawing_views(drawing, size=size))
    assert made.shape == (18, size, size) and made.dtype == np.uint8
    expected = [
        turned_by_scipy(drawing, -45 + 11.25 * i, flip) for i in range(9) for flip in (False, True)
    ]
    np.testing.assert_allclose(made, expected, atol=0.51)
    assert len({view.tobytes() for view in made}) == 18
    np.testing.assert_array_equal(made[8], drawing)  # angle 0 interpolates nothing
    np.testing.assert_array_equal(made[9], drawing[:, ::-1])
    group = {"drawing": np.stack([DRAWING[:size, :size], drawing])}
    np.testing.assert_array_equal(views.all_views(group, size=size)[1], made)


def test_a_resized_drawing_turns_as_its_points_do():
    """The middle of the ink is at the same place in all views, to a pixel."""

    def middles(pictures):
        ink = 255.0 - np.asarray(pictures, float)
        return np.stack([(ink * g).sum((1, 2)) / ink.sum((1, 2)) for g in np.mgrid[:64, :64]])

    drawing = np.full((64, 64), 255, np.uint8)
    drawing[16:20, 36:46] = 0  # off the middle, so that turning moves it
    points = P.pad_points([P.points_from_image(drawing, thinned=False)])[0]
    turned, pointed = views.drawing_views(drawing, size=64), views.sketch_views(points, size=64)
    by_pixels, by_points = middles(turned), middles(pointed)
    np.testing.assert_allclose(by_pixels, by_points, atol=1.0)
    assert np.ptp(by_points, axis=1).min() > 5


def test_paper_comes_in_at_the_corners():
    dark = np.zeros((32, 32), np.uint8)
    made = np.asarray(views.drawing_views(dark, size=32))
    assert made[0, 0, 0] == 255 and made[0, 16, 16] == 0
    assert not made[8].any()


@pytest.mark.parametrize("method", ["linear", "cubic"])
@pytest.mark.parametrize("flip", [False, True])
def test_nothing_is_resized_twice(method, flip):
    """A picture of the wanted size passes as it is."""
    noise = rng.integers(0, 256, (50, 50)).astype(np.uint8)
    got = interpolating_resize(noise, 0.0, flip, size=50, method=method)
    np.testing.assert_array_equal(got, noise[:, ::-1] if flip else noise)


def test_plain_view_of_a_resized_drawing_is_itself():
    group = {"drawing": np.stack([DRAWING, 255 - DRAWING])}
    np.testing.assert_array_equal(views.plain_view(group, size=64), group["drawing"])


@pytest.mark.parametrize("make", [views.plain_view, views.all_views])
def test_a_drawing_of_another_size_is_refused(make):
    with pytest.raises(ValueError, match=r"shape \(64, 64\), the network takes \(35, 35\); resize"):
        make({"drawing": DRAWING[None]}, size=35)


def test_an_unknown_resizing_is_an_error():
    with pytest.raises(ValueError, match="'nearest' is unknown; choose one of edge_preserving, bi"):
        views.check_resizing("nearest")
