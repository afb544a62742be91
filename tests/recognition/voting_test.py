"""Voting equals the mean of 18 softmaxes, computed view by view outside the library."""

import functools

import jax
import numpy as np
import pytest
from scipy import ndimage

from dsf_jax.images.points import CANVAS, pad_points
from dsf_jax.images.resize import edge_preserving_resize
from dsf_jax.models.alexnet import AlexNet
from dsf_jax.models.model import Model, ModelConfig, init_model
from dsf_jax.recognition.voting import single_angle, vote
from tests.images.drawn import random_points
from tests.training import tiny

pytestmark = pytest.mark.slow

CAFFE_MEAN_BGR = (104.00699, 116.66877, 122.67891)
ALEXNET_SIZE = 67  # AlexNet's pool5 is 1 x 1 here


def decided(params, layer, factor):
    """Untrained networks are undecided: with a larger last layer the views disagree, and a mean of
    softmaxes is no softmax of the mean."""
    return params | {layer: params[layer] | {"kernel": params[layer]["kernel"] * factor}}


@functools.cache
def tiny_network():
    start = tiny.start_model()
    return tiny.TinyNet(5), start.replace(params=decided(start.params, "fc8", 4.0))


@functools.cache
def alexnet():
    """With random kernels of He's deviation and no biases, signals reach the end undimmed."""
    config, rng = ModelConfig("caffe", tiny.CLASSES, ALEXNET_SIZE, ()), np.random.default_rng(0)

    def draw(shape):
        fan_in = np.prod(shape[:-1])
        values = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
        return values if len(shape) > 1 else np.zeros(shape, np.float32)

    shapes = jax.eval_shape(lambda: init_model(config, 0).params)
    params = jax.tree.map(lambda x: draw(x.shape), shapes)
    return AlexNet(5), Model(decided(params, "fc8", 0.1), config)


def point_lists(count, seed=0):
    """Drawings of which a quarter of the canvas is dense: no view is like another."""
    rng = np.random.default_rng(seed)
    return [
        random_points(rng, 200 + 50 * i, CANVAS // 4, (1 + i % 3) * CANVAS // 4 + 90)
        for i in range(count)
    ]


def photos(count, seed=0):
    """Coarse random blocks, so that every patch has its own colours."""
    blocks = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3))
    return np.kron(blocks, np.ones((1, 64, 64, 1), np.int64)).astype(np.uint8)


def views_of_drawing(points, size):
    """The upright view, then the 18: every angle plain and mirrored."""
    angles = [-45.0 + 11.25 * i for i in range(9)]
    return np.asarray(edge_preserving_resize(points, size=size)), [
        np.asarray(edge_preserving_resize(points, angle, flip, size=size))
        for angle in angles
        for flip in (False, True)
    ]


def views_of_photo(photo, size):
    middle, end = (256 - size) // 2, 256 - size
    patches = [
        photo[top : top + size, left : left + size]
        for top in (0, middle, end)
        for left in (0, middle, end)
    ]
    return patches[4], [view for patch in patches for view in (patch, patch[:, ::-1])]


def views_of_resized(drawing, size):
    """Turned by SciPy: each pixel's centre is turned back about the middle, then mirrored."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    views = []
    for radians in np.deg2rad([-45.0 + 11.25 * i for i in range(9)]):
        rows = np.sin(radians) * x + np.cos(radians) * y
        columns = np.cos(radians) * x - np.sin(radians) * y
        for sign in (1, -1):
            source = np.stack([rows, sign * columns]) + (size - 1) / 2
            made = ndimage.map_coordinates(
                drawing.astype(float), source, order=1, mode="grid-constant", cval=255.0
            )
            views.append(np.round(made).astype(np.uint8))
    return drawing, views


def resized(count, size, seed=0):
    """Coarse random greys."""
    greys = np.random.default_rng(seed).integers(0, 256, (count, 7, 7))
    return np.kron(greys, np.ones((1, size // 7 + 1, size // 7 + 1), np.int64))[
        :, :size, :size
    ].astype(np.uint8)


VIEWS = {"points": views_of_drawing, "photo": views_of_photo, "drawing": views_of_resized}


def logits_of(module, params, view):
    """One view through the network; grey is repeated, colour turned to BGR, the mean subtracted."""
    colour = np.repeat(view[..., None], 3, axis=-1) if view.ndim == 2 else view[..., ::-1]
    pixels = colour.astype(np.float32) - np.array(CAFFE_MEAN_BGR, np.float32)[None, None]
    return np.asarray(one_view(module, params, pixels[None])[0], np.float64)


@functools.partial(jax.jit, static_argnames="module")
def one_view(module, params, inputs):
    return module.apply({"params": params}, inputs)[0]


def softmax(logits):
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def group_of(kind, count, size=tiny.SIZE):
    if kind == "drawing":
        return {"drawing": resized(count, size)}
    return {kind: pad_points(point_lists(count)) if kind == "points" else photos(count)}


@functools.cache
def by_hand(network, kind, count):
    """[b, k] of the one view, [b, k] of the vote, and [b, 18, k] logits."""
    module, model = network()
    params, size = model.params, model.size
    singles, votes, logits = [], [], []
    for example in group_of(kind, count, size)[kind]:
        plain, views = VIEWS[kind](example, size)
        assert len(views) == 18
        singles.append(softmax(logits_of(module, params, plain)))
        logits.append([logits_of(module, params, view) for view in views])
        votes.append(np.mean([softmax(row) for row in logits[-1]], axis=0))
    return np.array(singles), np.array(votes), np.array(logits)


CASES = [
    pytest.param(tiny_network, "points", 3, id="tiny-drawings"),
    pytest.param(tiny_network, "photo", 2, id="tiny-photos"),
    pytest.param(tiny_network, "drawing", 3, id="tiny-resized-drawings"),
    pytest.param(alexnet, "points", 2, id="alexnet-drawings"),
]


@pytest.mark.parametrize(("network", "kind", "count"), CASES)
def test_the_vote_is_the_mean_of_18_softmaxes(network, kind, count):
    _, model = network()
    _, expected, logits = by_hand(network, kind, count)
    voted = np.asarray(vote(model, group_of(kind, count, model.size)))
    assert voted.shape == (count, 5) and voted.dtype == np.float32
    np.testing.assert_allclose(voted, expected, atol=2e-5)
    # The case tells the vote from its neighbours: the softmax of the mean, one view alone.
    other = np.array([softmax(rows.mean(axis=0)) for rows in logits])
    assert np.abs(other - expected).max() > 1e-3
    assert all(np.abs(softmax(row) - expected[0]).max() > 1e-3 for row in logits[0])


@pytest.mark.parametrize(("network", "kind", "count"), CASES[:3])
def test_a_single_angle_is_the_softmax_of_the_upright_view(network, kind, count):
    _, model = network()
    expected, voted, _ = by_hand(network, kind, count)
    got = np.asarray(single_angle(model, group_of(kind, count, model.size)))
    assert got.shape == (count, 5) and got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=2e-5)
    assert np.abs(voted - expected).max() > 1e-3


@pytest.mark.parametrize("classify", [single_angle, vote])
def test_padding_of_point_lists_does_not_count(classify):
    _, model = tiny_network()
    lists = point_lists(3)
    answers = [
        np.asarray(classify(model, {"points": pad_points(lists, length)}))
        for length in (512, 1024, 4096)
    ]
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])
    assert np.abs(answers[0][0] - answers[0][1]).max() > 1e-3


@pytest.mark.parametrize("kind", ["points", "photo", "drawing"])
def test_an_example_gets_the_same_vote_in_any_company(kind):
    _, model = tiny_network()
    group = group_of(kind, 3)
    together = np.asarray(vote(model, group))
    for i in range(3):
        alone = vote(model, {kind: group[kind][i : i + 1]})
        np.testing.assert_allclose(together[i], alone[0], atol=1e-6)


def test_a_drawing_without_ink_gets_probabilities_too():
    _, model = tiny_network()
    blank = {"points": pad_points([np.zeros((0, 3), np.uint16)])}
    voted = np.asarray(vote(model, blank))
    np.testing.assert_allclose(voted.sum(), 1.0, atol=1e-6)
    np.testing.assert_allclose(voted, single_angle(model, blank), atol=1e-6)


def test_both_work_inside_jit():
    _, model = tiny_network()
    group = group_of("points", 2)
    for classify in (single_angle, vote):
        compiled = jax.jit(classify)
        plain = classify(model, group)
        np.testing.assert_allclose(compiled(model, group), plain, atol=1e-6)
