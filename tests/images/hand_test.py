import jax
import numpy as np
import pytest

from dsf_jax.images.hand import STEADY, Hand, bend, check_hand, drawn_by_hand
from dsf_jax.images.points import CANVAS, pad_points, points_from_strokes
from dsf_jax.images.resize import BINARY_PEN, edge_preserving_resize

pytestmark = pytest.mark.slow

SIZE = 101
CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 400)) for f in (np.cos, np.sin)], axis=1)
POINTS = pad_points([points_from_strokes([CIRCLE], (-1.3, -1.3, 2.6, 2.6))])[0]
KEYS = jax.random.split(jax.random.key(0), 200)


def ink(view):
    return np.sum(255.0 - np.asarray(view, float))


def test_a_steady_hand_draws_what_the_resize_does():
    drawn = drawn_by_hand(KEYS[0], POINTS, 20.0, True, size=SIZE, pen=2.0, hand=STEADY)
    expected = edge_preserving_resize(POINTS, 20.0, True, size=SIZE, pen=2.0)
    np.testing.assert_array_equal(drawn, expected)


def test_a_binary_map_knows_no_width():
    options = {"size": SIZE, "pen": BINARY_PEN}
    hand = Hand(pen_spread=0.5, pressure_spread=0.5)
    drawn = drawn_by_hand(KEYS[0], POINTS, 20.0, False, hand=hand, **options)
    np.testing.assert_array_equal(drawn, edge_preserving_resize(POINTS, 20.0, **options))


def test_the_pens_width_spreads_evenly_and_the_line_stays_where_it_is():
    hand = Hand(pen_spread=0.8)
    views = [drawn_by_hand(key, POINTS, 0.0, False, size=SIZE, pen=2.0, hand=hand) for key in KEYS]
    length = 2 * np.pi / 2.6 * SIZE
    widths = np.array([ink(view) for view in views]) / 255 / length
    assert 1.1 < widths.min() < 1.45 and 2.55 < widths.max() < 2.9
    assert abs(widths.mean() - 2.0) < 0.15
    middle = np.asarray(edge_preserving_resize(POINTS, size=SIZE, pen=1.0)) < 128
    assert all((np.asarray(view)[middle] < 128).all() for view in views)


def test_pressure_makes_every_stroke_of_a_view_fainter_or_darker_and_moves_none():
    """Strokes of half the darkness have from .3 to .7 of it, equally often; black ones stay black at most."""
    half = np.where(np.arange(3) == 2, POINTS // 2, POINTS)
    hand, options = Hand(pressure_spread=0.4), {"size": SIZE, "pen": 2.0}
    steady = np.asarray(edge_preserving_resize(half, **options))
    factors = []
    for key in KEYS:
        view = np.asarray(drawn_by_hand(key, half, 0.0, False, hand=hand, **options))
        factors.append(ink(view) / ink(steady))
        strong = steady < 200  # where bytes are not rounded by much
        np.testing.assert_allclose(
            (255.0 - view[strong]) / (255.0 - steady[strong]), factors[-1], atol=0.03
        )
    assert 0.59 < min(factors) < 0.63 and 1.37 < max(factors) < 1.41
    assert abs(np.mean(factors) - 1.0) < 0.05
    black = [drawn_by_hand(key, POINTS, 0.0, False, hand=hand, **options) for key in KEYS[:20]]
    darkest = ink(edge_preserving_resize(POINTS, **options))
    assert all(0.59 < ink(view) / darkest <= 1 for view in black)
    by_place = [
        drawn_by_hand(key, POINTS[:, :2], 0.0, False, hand=hand, **options) for key in KEYS[:20]
    ]
    np.testing.assert_array_equal(by_place, black)  # points without darkness are black


def test_what_a_hand_adds_changes_nothing_else():
    """Runs of before go on as they were: width and bend are drawn from the keys that they had."""
    old = jax.random.split(KEYS[0])
    new = jax.random.split(KEYS[0], 3)
    np.testing.assert_array_equal(jax.random.key_data(old), jax.random.key_data(new[:2]))


def test_a_bend_is_smooth_of_the_size_asked_for_and_another_each_time():
    places = np.stack(np.meshgrid(*[np.arange(0, CANVAS, 20)] * 2), axis=-1).reshape(-1, 2)
    motions = np.stack([bend(key, places) for key in KEYS])
    assert np.sqrt(np.mean(motions**2)) == pytest.approx(1.0, abs=0.05)
    assert np.abs(motions.mean(axis=0)).max() < 0.35  # 1 / sqrt(200), at 1,225 places
    assert len({motion.tobytes() for motion in motions}) == len(KEYS)
    next_cells = np.stack([bend(key, places + 1) for key in KEYS])
    # Two waves per side: at most some 2 pi 2 per side, times the waves that are steepest at once.
    assert np.abs(next_cells - motions).max() * CANVAS < 2 * np.pi * 2 * 5


def test_a_bent_line_is_whole_and_about_as_long():
    upright = ink(edge_preserving_resize(POINTS, size=SIZE, pen=2.0))
    for key in KEYS[:20]:
        view = drawn_by_hand(key, POINTS, 0.0, False, size=SIZE, pen=2.0, hand=Hand(bend=0.02))
        assert 0.85 < ink(view) / upright < 1.15
        assert (np.asarray(view) != edge_preserving_resize(POINTS, size=SIZE, pen=2.0)).any()


@pytest.mark.parametrize(
    ("hand", "pen", "words"),
    [
        (Hand(pen_spread=2.0), 2.0, "widths from 0.0 to 4.0, expected above 0"),
        (Hand(pen_spread=1.5), 3.0, "widths from 1.5 to 4.5, expected above 0 and at most 4.0"),
        (Hand(bend=-0.1), 2.0, "must not be below 0"),
        (Hand(pressure_spread=1.0), 2.0, "pressure_spread=1.0 must lie in"),
        (Hand(pressure_spread=-0.1), 2.0, "pressure_spread=-0.1 must lie in"),
        (STEADY, 5.0, "pen=5.0 must lie between"),
    ],
)
def test_hands_that_cannot_draw(hand, pen, words):
    with pytest.raises(ValueError, match=words):
        check_hand(hand, pen)
