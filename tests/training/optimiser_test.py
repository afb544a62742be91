"""Caffe's rates and update, against formulas and a NumPy loop written apart; which layers learn."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.model import ModelConfig
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.optimiser import learning_rate_at, sgd
from dsf_jax.training.step import trained_part

RATE = 0.01
FRESH = ModelConfig("caffe", ("ant",), 227, ("fc8",))
SGD = TrainConfig(learning_rate=RATE).sgd_config(FRESH, 100)


def rates(count, **changes):
    """The rates of the first steps, as a compiled step takes them."""
    rate_at = learning_rate_at(SGD._replace(**changes))
    return jax.jit(jax.vmap(lambda step: jnp.float32(rate_at(step))))(jnp.arange(count))


def assert_rates(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-9)


def test_constant():
    assert_rates(rates(50, schedule="constant"), np.full(50, RATE))


@pytest.mark.parametrize("every", [1, 3, 7, 49, 60])
@pytest.mark.parametrize("factor", [0.1, 0.5])
def test_steps_drop_after_exactly_so_many(every, factor):
    """Caffe: base_lr * gamma ^ floor(iter / stepsize). No drop comes a step early or late."""
    got = rates(200, schedule="step", decay_every=every, decay_factor=factor)
    expected = [RATE * factor ** (step // every) for step in range(200)]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-30)


def test_cosine_ends_at_zero():
    steps = 40
    got = rates(steps + 5, schedule="cosine", steps=steps)
    numbers = np.minimum(np.arange(steps + 5), steps)
    assert_rates(got, RATE * (1 + np.cos(np.pi * numbers / steps)) / 2)
    assert got[0] == np.float32(RATE) and got[steps - 1] > 0 and got[steps] == 0


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["constant", "step", "cosine"])
@pytest.mark.parametrize("warmup", [0, 1, 2, 5, 12])
def test_warm_up_rises_by_equal_parts_and_then_leaves_the_schedule_alone(schedule, warmup):
    """Its last step is the first at the full rate; what follows counts from the run's start."""
    given = {"schedule": schedule, "decay_every": 10, "decay_factor": 0.1, "steps": 30}
    plain, warm = rates(30, **given), rates(30, **given, warmup=warmup)
    assert_rates(warm[:warmup], RATE * np.arange(1, warmup + 1) / max(warmup, 1))
    np.testing.assert_array_equal(warm[warmup:], plain[warmup:])


def test_an_unknown_schedule_is_named():
    with pytest.raises(
        ValueError, match="schedule='linear' is unknown; choose one of constant, step, cosine"
    ):
        learning_rate_at(SGD._replace(schedule="linear"))


# Caffe's lr_mult and decay_mult of a fine-tuned layer, and of a new one.
MULTIPLIERS = {
    ("fc7", "kernel"): (1.0, 1.0),
    ("fc7", "bias"): (2.0, 0.0),
    ("fc8", "kernel"): (10.0, 1.0),
    ("fc8", "bias"): (20.0, 0.0),
}


def test_the_update_is_caffes():
    """history <- momentum history + rate lr_mult (g + decay decay_mult w), w <- w - history, in
    float64 over steps on both sides of a drop: what the history holds then keeps the old rate."""
    rng = np.random.default_rng(0)
    shapes = {"kernel": (3, 2), "bias": (2,)}
    weights = {key: rng.standard_normal(shapes[key[1]]) for key in MULTIPLIERS}
    gradients = [
        {key: rng.standard_normal(w.shape) for key, w in weights.items()} for _ in "1234567"
    ]

    def tree(values):
        return {
            layer: {name: jnp.float32(values[layer, name]) for name in shapes}
            for layer in ("fc7", "fc8")
        }

    optimiser = sgd(SGD._replace(weight_decay=0.05, decay_every=3, decay_factor=0.1))
    params = tree(weights)
    state = optimiser.init(params)
    update = jax.jit(optimiser.update)
    history = dict.fromkeys(MULTIPLIERS, 0.0)
    for number, gradient in enumerate(gradients):
        updates, state = update(tree(gradient), state, params)
        params = optax.apply_updates(params, updates)
        rate = RATE * 0.1 ** (number // 3)
        for key, (lr_mult, decay_mult) in MULTIPLIERS.items():
            regularised = gradient[key] + 0.05 * decay_mult * weights[key]
            history[key] = 0.9 * history[key] + rate * lr_mult * regularised
            weights[key] = weights[key] - history[key]
        chex.assert_trees_all_close(params, tree(weights), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("train_layers", "names"),
    [("all", CAFFE.layers), ("fc", ("fc6", "fc7", "fc8")), ("last", ("fc8",))],
)
def test_the_layers_that_learn(train_layers, names):
    params = {layer: {"kernel": i} for i, layer in enumerate(CAFFE.layers)}
    part = trained_part(params, CAFFE.learning(train_layers))
    assert part == {name: params[name] for name in names}


def test_unknown_layers_are_named():
    with pytest.raises(
        ValueError, match="train_layers='conv' is unknown; choose one of all, fc, last"
    ):
        CAFFE.learning("conv")
