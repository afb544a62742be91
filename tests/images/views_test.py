import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.images import points as P
from dsf_jax.images import views
from dsf_jax.images.resize import edge_preserving_resize

rng = np.random.default_rng(0)
POINTS = P.pad_points([P._unique(rng.integers(0, P.CANVAS, (500, 2)))])[0]
PHOTO = rng.integers(0, 256, (256, 256, 3)).astype(np.uint8)


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


@pytest.mark.parametrize("group", [{"points": POINTS}, {"photo": PHOTO}], ids=["sketch", "photo"])
def test_random_views_are_the_18_each_about_equally_often(group):
    all_18 = [
        view.tobytes()
        for view in np.asarray(views.all_views(jax.tree.map(lambda x: x[None], group))[0])
    ]
    keys = jax.random.split(jax.random.key(0), 360)
    drawn = []
    for part in keys.reshape(10, 36):
        repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (36, *x.shape)), group)
        drawn += [
            all_18.index(view.tobytes()) for view in np.asarray(views.random_view(part, repeated))
        ]
    counts = np.bincount(drawn, minlength=18)
    assert counts.min() >= 6 and counts.max() <= 40  # 20 expected; 3 to 4 sigma


def test_a_random_view_follows_from_its_key_alone():
    keys = jax.random.split(jax.random.key(3), 4)
    group = {"points": np.stack([POINTS] * 4)}
    together = views.random_view(keys, group)
    alone = views.random_view(keys[2:3], {"points": POINTS[None]})
    np.testing.assert_array_equal(together[2], alone[0])


def test_a_photo_smaller_than_the_patch_is_refused():
    with pytest.raises(ValueError, match="patches of size=227 do not fit into a photo of 200"):
        views.photo_views(np.zeros((200, 200, 3), np.uint8))
