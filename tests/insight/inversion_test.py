"""Inversion against a NumPy float64 descent written apart, and what must hold of every run."""

import dataclasses
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dsf_jax.insight import descent, inversion
from dsf_jax.insight.descent import InversionConfig, regulariser
from dsf_jax.insight.inversion import (
    invert,
    mean_distance,
    normalised_errors,
    sigma,
    stretched,
    typical_norm,
)
from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.model import Model, ModelConfig, init_model
from dsf_jax.models.weight_files.reading import read_weights
from dsf_jax.models.weights_port import port_weights
from tests.insight import networks  # noqa: F401
from tests.models import numpy_alexnet

pytestmark = pytest.mark.slow

SIZE = 12
SHORT = InversionConfig(phases=((1.0, 12), (0.1, 6)))
MEAN = {
    "caffe": np.array(numpy_alexnet.CAFFE_MEAN_BGR),
    "torchvision": 255 * np.array(numpy_alexnet.TORCH_MEAN_RGB),
}
DIVISOR = {"caffe": np.ones(3), "torchvision": 255 * np.array(numpy_alexnet.TORCH_STD_RGB)}


def network(variant="caffe"):
    rng = np.random.default_rng(0)
    # Larger inputs meet smaller weights, so that the activations of both variants look alike.
    scale = 1.0 if variant == "caffe" else 50.0
    kernel = scale * rng.standard_normal((3, 3, 3, 6)) / 5
    layer = {"kernel": kernel.astype(np.float32), "bias": np.linspace(-20, 20, 6, dtype=np.float32)}
    config = ModelConfig(f"one layer, {variant}", ("a",), size=SIZE, fresh_layers=())
    return Model({"conv1": layer}, config)


def pictures(count=3, size=SIZE, seed=0):
    """Smooth, each channel in a range of its own."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, size // 4, size // 4, 3)) * [1.0, 0.8, 0.6]
    return coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)


# --- The oracle: float64, one image at a time, the layer as an explicit matrix ---


def matrix(params, variant, size):
    """The convolution as [d, size * size * 3], by sending every unit image through it."""
    units = np.eye(size * size * 3).reshape(-1, size, size, 3) / DIVISOR[variant]
    kernel = np.asarray(params["conv1"]["kernel"], np.float64)
    return numpy_alexnet.correlate(units, kernel, 2).reshape(len(units), -1).T


def oracle_regulariser(x, tv, alpha):
    """Value and gradient of the regulariser of one image [h, w, 3], pixel by pixel."""
    value, gradient = alpha / 2 * (x**6).sum(), alpha / 2 * 6 * x**5
    height, width, channels = x.shape
    for i in range(height):
        for j in range(width):
            for c in range(channels):
                for k, m in ((i + 1, j), (i, j + 1)):
                    if k < height and m < width:
                        step = x[k, m, c] - x[i, j, c]
                        value += tv / 2 * step**2
                        gradient[k, m, c] += tv * step
                        gradient[i, j, c] -= tv * step
    return value, gradient


def oracle_descent(picture, start, params, variant, config, tv):
    """Raw RGB pixels and the course of the error, step by step as FACTS of the method say."""
    a = matrix(params, variant, SIZE)
    cells = len(a) // 6
    bias = np.tile(np.asarray(params["conv1"]["bias"], np.float64), cells)

    def layer(x):
        return a @ x.ravel() + bias

    order = slice(None, None, -1) if variant == "caffe" else slice(None)
    target = np.maximum(layer(picture[..., order].astype(np.float64) - MEAN[variant]), 0)
    spread = 27098.1157 * SIZE / 227
    x, velocity, last, course = start.astype(np.float64), np.zeros(start.shape), None, []
    for factor, steps in config.phases:
        for _ in range(steps):
            rate = config.learning_rate * factor
            if rate != last:
                velocity, last = np.zeros(start.shape), rate
            before = layer(x)
            miss = np.maximum(before, 0) - target
            course.append(miss @ miss / (target @ target))
            pull = 2 * (a.T @ (miss * (before > 0))) / (target @ target)
            _, smooth = oracle_regulariser(x, tv, config.alpha_weight)
            gradient = pull.reshape(x.shape) + smooth / spread**2
            velocity = config.momentum * velocity - rate * spread**2 * gradient
            x = x + velocity
    miss = np.maximum(layer(x), 0) - target
    return (x + MEAN[variant])[..., order], np.array([*course, miss @ miss / (target @ target)])


@pytest.mark.parametrize("variant", ["caffe", "torchvision"])
def test_the_descent_equals_a_plain_one_in_float64(variant):
    model = network(variant)
    images = pictures()
    config = dataclasses.replace(SHORT, tv_weight=7.0, alpha_weight=1e-9)
    found = invert(model, images, layer="relu1", config=config)
    starts = inversion.first_noise(images, config, np.full(3, sigma(SIZE, SIZE)))
    for i, (picture, start) in enumerate(zip(images, starts, strict=True)):
        raw, course = oracle_descent(picture, start, model.params, variant, config, tv=7.0)
        np.testing.assert_allclose(found.trajectories[i], course, rtol=2e-4)
        np.testing.assert_allclose(found.raw[i], raw, atol=0.02)
        assert course[-1] < 0.4 * course[0]
    np.testing.assert_array_equal(found.errors, found.trajectories[:, -1])
    np.testing.assert_array_equal(found.images, np.clip(np.rint(found.raw), 0, 255))


def test_the_regulariser_and_its_gradient_equal_loops():
    x = 60 * np.random.default_rng(1).standard_normal((2, 5, 7, 3))
    for tv, alpha in ((3.0, 0.0), (0.0, 1e-8), (3.0, 1e-8)):

        def total(x, tv=tv, alpha=alpha):
            return regulariser(x, tv=tv, alpha=alpha).sum()

        single = jnp.asarray(x, jnp.float32)
        expected = [oracle_regulariser(image, tv, alpha) for image in x]
        np.testing.assert_allclose(
            regulariser(single, tv=tv, alpha=alpha), [value for value, _ in expected], rtol=1e-5
        )
        np.testing.assert_allclose(
            jax.grad(total)(single), [gradient for _, gradient in expected], rtol=1e-4, atol=1e-3
        )


def test_the_regulariser_by_hand():
    x = np.zeros((1, 2, 2, 3), np.float32)
    x[0, 0, 0, 0] = 2.0  # two differences of 2, one sixth power of 64
    assert float(regulariser(jnp.asarray(x), tv=1.0, alpha=0.0)[0]) == 4.0
    assert float(regulariser(jnp.asarray(x), tv=0.0, alpha=1.0)[0]) == 32.0


# --- What must hold of every run ---


@pytest.mark.parametrize("variant", ["caffe", "torchvision"])
def test_a_result_does_not_depend_on_its_batch(variant):
    model = network(variant)
    images = pictures(4)
    together = invert(model, images, layer="relu1", config=SHORT)
    alone = invert(model, images[2:3], layer="relu1", config=SHORT)
    # A dark neighbour's relative loss is much larger; it must not weigh in.
    dark = np.stack([images[2], images[0] // 40])
    moved = invert(model, dark, layer="relu1", config=SHORT)
    for other in (alone, moved):
        np.testing.assert_allclose(together.raw[2], other.raw[0], atol=0.01)
        np.testing.assert_allclose(together.trajectories[2], other.trajectories[0], rtol=1e-4)


def test_a_kind_of_its_own_norm_is_sought_at_its_own_scale():
    """Twice the values at twice the norm, seen by half the weights, are the same search: TV and x^6
    weigh as much.
    """
    model = network()
    layer = model.params["conv1"]
    half = model.replace(params={"conv1": {"kernel": layer["kernel"] / 2, "bias": layer["bias"]}})
    near = np.clip(pictures(), 110, 140)
    mean = np.array([122.67891, 116.66877, 104.00699])
    far = np.rint(mean + 2 * (near.astype(np.float64) - mean)).astype(np.uint8)
    norm = sigma(SIZE, SIZE)
    config = dataclasses.replace(SHORT, alpha_weight=1e-8, tv_weight=3.0)
    # The noise comes from a picture's own pixels: it is taken from the near ones for both.
    plain = invert(model, near, layer="relu1", norms=norm, config=config)
    same = invert(model, near, layer="relu1", config=config)
    np.testing.assert_array_equal(plain.raw, same.raw)
    keep = inversion.first_noise
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inversion, "first_noise", lambda rgb, *rest: keep(near, *rest))
        wide = invert(half, far, layer="relu1", norms=np.full(3, 2 * norm), config=config)
    np.testing.assert_allclose(wide.trajectories, plain.trajectories, rtol=0.02)
    assert np.abs((wide.raw - mean) / 2 - (plain.raw - mean)).mean() < 0.5  # pixels are rounded


def test_the_typical_norm_by_hand():
    white = np.full((2, 4, 4), 255, np.uint8)
    away = 255 - np.array([122.67891, 116.66877, 104.00699])
    expected = np.sqrt(16 * np.sum(away**2))
    assert typical_norm(network("caffe"), white) == pytest.approx(expected, rel=1e-5)
    black = np.zeros((1, 4, 4, 3), np.uint8)
    expected = np.sqrt(16 * np.sum((255 * np.array([0.485, 0.456, 0.406])) ** 2))
    assert typical_norm(network("torchvision"), black) == pytest.approx(expected, rel=1e-5)


def test_a_step_too_far_is_cut_and_does_not_diverge():
    """At this rate x^6 would throw values back and forth, ever farther."""
    model = network()
    config = InversionConfig(phases=((1.0, 30),), learning_rate=1.0, alpha_weight=1e-8)
    found = invert(model, pictures(), layer="relu1", config=config)
    mean = np.array([122.67891, 116.66877, 104.00699])
    farthest = np.abs(found.raw - mean).max()
    limit = descent.FARTHEST * sigma(SIZE, SIZE) / np.sqrt(SIZE * SIZE * 3)
    assert farthest == pytest.approx(limit, rel=1e-4)
    assert np.isfinite(found.trajectories).all()


def test_a_run_repeats_itself_and_the_seed_matters():
    model = network()
    first, again = (invert(model, pictures(), layer="conv1", config=SHORT) for _ in "ab")
    np.testing.assert_array_equal(first.raw, again.raw)
    other = invert(model, pictures(), layer="conv1", config=dataclasses.replace(SHORT, seed=1))
    assert np.abs(other.raw - first.raw).max() > 1


@pytest.mark.parametrize("block", [1, 9])
def test_longer_loops_give_the_same(block, monkeypatch):
    model = network()
    expected = invert(model, pictures(), layer="relu1", config=SHORT)
    monkeypatch.setattr(descent, "LONGEST_BLOCK_ON_CPU", block)
    found = invert(model, pictures(), layer="relu1", config=SHORT)
    np.testing.assert_allclose(found.raw, expected.raw, atol=0.01)
    np.testing.assert_allclose(found.trajectories, expected.trajectories, rtol=1e-4)


def test_the_best_restart_is_kept():
    model = network()
    config = dataclasses.replace(SHORT, restarts=4)
    found = invert(model, pictures(5), layer="relu1", config=config)
    assert found.restart_errors.shape == (5, 4)
    np.testing.assert_array_equal(found.restarts, found.restart_errors.argmin(axis=1))
    np.testing.assert_array_equal(found.errors, found.restart_errors.min(axis=1))
    assert len(set(found.restarts.tolist())) > 1
    once = invert(model, pictures(5), layer="relu1", config=SHORT)
    np.testing.assert_allclose(found.restart_errors[:, 0], once.errors, rtol=1e-3)


def test_a_diverged_restart_is_never_kept():
    raw, trajectories = np.zeros((4, 2, 2, 3), np.float32), np.full((4, 3), np.nan, np.float32)
    trajectories[[1, 2], -1] = 0.5
    raw[1] = 7
    best = inversion._best(raw, trajectories, np.ones(4), 2, "conv1")
    np.testing.assert_array_equal(best.restarts, [1, 0])
    assert (best.images[0] == 7).all()
    with pytest.raises(ValueError, match=r"images \[1\] diverged .*'conv1' in all 2 restarts"):
        inversion._best(
            raw, np.where([[1], [1], [0], [1]], trajectories, np.inf), np.ones(4), 2, "conv1"
        )


def test_noise_has_norm_sigma_and_its_own_key():
    images = pictures(2)
    noise = inversion.first_noise(images, InversionConfig(restarts=2), np.full(2, 500.0))
    np.testing.assert_allclose(np.linalg.norm(noise.reshape(4, -1), axis=1), 500, rtol=1e-5)
    assert len(np.unique(noise.reshape(4, -1)[:, 0])) == 4
    swapped = inversion.first_noise(images[::-1], InversionConfig(restarts=2), np.full(2, 500.0))
    np.testing.assert_array_equal(noise[:2], swapped[2:])


def test_momentum_is_dropped_where_the_rate_changes(monkeypatch):
    monkeypatch.setattr(descent, "LONGEST_BLOCK_ON_CPU", 25)
    config = InversionConfig(learning_rate=2.0, phases=((1.0, 2), (1.0, 1), (0.5, 2)))
    rates, resets, block = descent.schedule(config)
    np.testing.assert_array_equal(rates, [2, 2, 2, 1, 1])
    np.testing.assert_array_equal(resets, [True, False, False, True, False])
    assert block == 5
    assert descent.schedule(InversionConfig())[2] == 25


def test_sigma_is_the_published_one_and_weights_are_as_told():
    assert sigma(227, 227) == 27098.1157
    assert sigma(454, 454) == pytest.approx(2 * 27098.1157)
    names = [
        "conv1 relu1 norm1 pool1 conv2 relu2",
        "norm2 pool2 conv3 relu3 conv4 relu4",
        "conv5 relu5 pool5 avgpool fc6 relu6 fc7 relu7 fc8",
    ]
    for expected, group in zip((0.4, 4.0, 40.0), names, strict=True):
        assert {CAFFE.tv_weight(name) for name in group.split()} == {expected}


def test_the_default_schedule_has_as_many_steps_as_the_authors():
    rates, resets, _ = descent.schedule(InversionConfig())
    np.testing.assert_allclose(rates[[0, 50, 200, 350]], np.float32([4e-3, 1.2e-3, 4e-4, 4e-5]))
    assert len(rates) == 400 and np.flatnonzero(resets).tolist() == [0, 50, 200, 350]


def test_distance_between_images_equals_all_pairs():
    model = network()
    images = pictures(6)
    a = matrix(model.params, "caffe", SIZE)
    bias = np.tile(np.asarray(model.params["conv1"]["bias"], np.float64), len(a) // 6)
    inputs = images[..., ::-1].reshape(6, -1, 3) - MEAN["caffe"]
    vectors = inputs.reshape(6, -1) @ a.T + bias
    pairs = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    distance = mean_distance(model, images, layer="conv1")
    assert distance == pytest.approx(pairs.mean(), rel=1e-5)

    found = invert(model, images[:2], layer="conv1", config=SHORT)
    again = (found.raw[..., ::-1].reshape(2, -1) - np.tile(MEAN["caffe"], SIZE**2)) @ a.T + bias
    expected = np.linalg.norm(again - vectors[:2], axis=1) / pairs.mean()
    np.testing.assert_allclose(normalised_errors(found, distance), expected, rtol=1e-3)


def test_errors_name_what_is_wrong():
    model = network()
    with pytest.raises(
        ValueError, match=r"layer='conv9' is unknown; choose one of conv1, nothing, relu1"
    ):
        invert(model, pictures(), layer="conv9")
    with pytest.raises(ValueError, match=r"images are \[3, 12, 12, 3\] float64, expected"):
        invert(model, pictures() / 255, layer="conv1")
    with pytest.raises(ValueError, match=r"images are \[0, 12, 12, 3\] uint8"):
        invert(model, pictures(0), layer="conv1")
    with pytest.raises(ValueError, match=r"images \[0, 1, 2\] give only zeros in layer='nothing'"):
        invert(model, pictures(), layer="nothing")
    with pytest.raises(ValueError, match=r"restarts=0 and phases of 18 steps"):
        invert(model, pictures(), layer="conv1", config=dataclasses.replace(SHORT, restarts=0))
    with pytest.raises(ValueError, match=r"restarts=1 and phases of 0 steps"):
        invert(model, pictures(), layer="conv1", config=InversionConfig(phases=()))


# --- AlexNet itself ---


SMALL = 67  # the least size at which every layer of both networks has cells


def shapes():
    """AlexNet for SMALL inputs, with the shapes of its parameters, none of them drawn."""
    config = ModelConfig("caffe", tuple("abcde"), size=SMALL, fresh_layers=())
    return jax.eval_shape(lambda: init_model(config, 0))


def test_layers_after_the_one_wanted_cost_nothing():
    model = shapes()
    images = jax.ShapeDtypeStruct((1, SMALL, SMALL, 3), jnp.float32)
    steps = np.ones(1, np.float32), np.zeros(1, bool)
    objective = descent.Objective(1.0, 1.0, 1.0, 0.9)

    def lowered(layer, values):
        target = jax.ShapeDtypeStruct((1, values), jnp.float32)
        state = descent.DescentState(images, images)
        return descent.descend.lower(model, state, target, *steps, objective, layer)

    # conv2 has 256 features, fc6 4096: they are traced only where they are wanted.
    assert "4096" in lowered("fc6", 4096).as_text()
    assert "x256x" not in lowered("relu1", 15 * 15 * 96).as_text()
    # conv1 forward, and backward to its input: 2 operations a weight and cell, each way.
    conv1 = 2 * 2 * 11 * 11 * 3 * 96 * 15 * 15
    work = lowered("relu1", 15 * 15 * 96).compile().cost_analysis()["flops"]
    assert work < 1.5 * conv1  # conv2's forward alone would add one


def test_the_last_layer_of_alexnet_draws_nearer():
    model = shapes()
    rng = np.random.default_rng(0)
    params = {
        name: {
            "kernel": rng.standard_normal(leaf["kernel"].shape, np.float32)
            * np.float32(np.sqrt(2 / np.prod(leaf["kernel"].shape[:-1]))),
            "bias": np.ones(leaf["bias"].shape, np.float32),
        }
        for name, leaf in model.params.items()
    }
    images = pictures(1, size=68)[:, :SMALL, :SMALL]
    config = InversionConfig(learning_rate=1e-3, phases=((1.0, 3),), tv_weight=0.0)
    found = invert(model.replace(params=params), images, layer="fc8", config=config)
    assert found.images.shape == images.shape
    assert found.trajectories.shape == (1, 4)
    assert found.errors[0] < found.trajectories[0, 0]


def test_stretched_pictures_span_all_bytes():
    raw = np.linspace(-40, 60, 2 * 12, dtype=np.float32).reshape(2, 2, 2, 3)
    shown = stretched(raw)
    assert shown.dtype == np.uint8
    for i in range(2):
        np.testing.assert_array_equal(shown[i].ravel(), np.rint(np.linspace(0, 255, 12)))
    np.testing.assert_array_equal(stretched(np.ones((1, 2, 2, 3), np.float32)), 0)


def test_grey_drawings_are_taken():
    model = network()
    grey = pictures()[..., 0]
    found = invert(model, grey, layer="conv1", config=SHORT)
    colour = invert(model, np.stack([grey] * 3, -1), layer="conv1", config=SHORT)
    np.testing.assert_array_equal(found.raw, colour.raw)


DATA = pathlib.Path(
    os.environ.get("DSF_JAX_DEV_DATA", pathlib.Path(__file__).parents[3] / "shared")
)
WEIGHTS = DATA / "weights" / "bvlc_alexnet_conv1-5_q78.npz"
PHOTOS = DATA / "data" / "sketchy" / "photo"


@pytest.mark.skipif(
    not (WEIGHTS.exists() and PHOTOS.exists()),
    reason=f"{WEIGHTS} or {PHOTOS} is absent (set DSF_JAX_DEV_DATA)",
)
def test_a_photo_comes_back_from_trained_filters():
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes())
    model, _ = port_weights(read_weights(WEIGHTS), blank, partial=True)
    picture = np.asarray(Image.open(min(PHOTOS.glob("bear/*.jpg"))).convert("RGB"))
    picture = picture[90:157, 90:157]
    config = InversionConfig(phases=((1.0, 60), (0.1, 40)))
    found = invert(model, picture[None], layer="relu1", config=config)
    assert found.errors[0] < 0.05

    def correlation(a, b):
        return np.corrcoef(a.mean(-1).ravel(), b.mean(-1).ravel())[0, 1]

    assert correlation(found.raw[0], picture.astype(np.float64)) > 0.9
