"""Rates and updates, against formulas, NumPy loops written apart and PyTorch; which layers learn."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.model import ModelConfig
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.optimiser import learning_rate_at, make_optimiser
from dsf_jax.training.step import trained_part

RATE = 0.01
FRESH = ModelConfig("caffe", ("ant",), 227, ("fc8",))
SGD = TrainConfig(learning_rate=RATE).optimiser_config(FRESH, 100)


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
SHAPES = {"kernel": (3, 2), "bias": (2,)}


def tree(values):
    """Values by (layer, name), float64, as parameters of a network."""
    return {
        layer: {name: jnp.float32(values[layer, name]) for name in SHAPES}
        for layer in ("fc7", "fc8")
    }


def assert_same_way(config, update):
    """The optimiser goes the way, over seven steps of random gradients, that `update` goes in float64:
    (key, number of the step from 1, gradient, weight) -> what the weight falls by, at a rate of 1.
    """
    rng = np.random.default_rng(0)
    weights = {key: rng.standard_normal(SHAPES[key[1]]) for key in MULTIPLIERS}
    optimiser, params = make_optimiser(config), tree(weights)
    state, step = optimiser.init(params), jax.jit(optimiser.update)
    for number in range(1, 8):
        gradients = {key: rng.standard_normal(w.shape) for key, w in weights.items()}
        updates, state = step(tree(gradients), state, params)
        params = optax.apply_updates(params, updates)
        for key, gradient in gradients.items():
            weights[key] = weights[key] - update(key, number, gradient, weights[key])
        chex.assert_trees_all_close(params, tree(weights), rtol=1e-5, atol=1e-6)


def test_the_update_is_caffes():
    """history <- momentum history + rate lr_mult (g + decay decay_mult w), w <- w - history, in
    float64 over steps on both sides of a drop: what the history holds then keeps the old rate."""
    history = dict.fromkeys(MULTIPLIERS, 0.0)

    def update(key, number, gradient, weight):
        lr_mult, decay_mult = MULTIPLIERS[key]
        rate = RATE * 0.1 ** ((number - 1) // 3)
        regularised = gradient + 0.05 * decay_mult * weight
        history[key] = 0.9 * history[key] + rate * lr_mult * regularised
        return history[key]

    assert_same_way(SGD._replace(weight_decay=0.05, decay_every=3, decay_factor=0.1), update)


def test_adamw_is_its_papers():
    """Loshchilov and Hutter's algorithm 2: the decay enters beside what the moments give, at the
    schedule's rate; both moments are divided by what their start at 0 leaves them."""
    mean, square = dict.fromkeys(MULTIPLIERS, 0.0), dict.fromkeys(MULTIPLIERS, 0.0)

    def update(key, number, gradient, weight):
        lr_mult, decay_mult = MULTIPLIERS[key]
        rate = RATE * 0.1 ** ((number - 1) // 3)
        mean[key] = 0.8 * mean[key] + 0.2 * gradient
        square[key] = 0.999 * square[key] + 0.001 * gradient**2
        corrected = mean[key] / (1 - 0.8**number)
        root = np.sqrt(square[key] / (1 - 0.999**number))
        return rate * lr_mult * (corrected / (root + 1e-8) + 0.05 * decay_mult * weight)

    adamw = SGD._replace(optimiser="adamw", momentum=0.8, weight_decay=0.05)
    assert_same_way(adamw._replace(decay_every=3, decay_factor=0.1), update)


def test_adamw_is_pytorchs():
    """One kernel over steps at one rate, with the library's own numbers for what we leave open."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng = np.random.default_rng(1)
    start, gradients = rng.standard_normal((4, 3)), rng.standard_normal((9, 4, 3))
    theirs = torch.nn.Parameter(torch.tensor(start))
    adamw = torch.optim.AdamW([theirs], lr=RATE, weight_decay=0.3)
    ours = make_optimiser(
        SGD._replace(optimiser="adamw", schedule="constant", weight_decay=0.3, fresh_layers=())
    )
    params = {"fc7": {"kernel": jnp.float32(start)}}
    state = ours.init(params)
    for gradient in gradients:
        theirs.grad = torch.tensor(gradient)
        adamw.step()
        updates, state = ours.update({"fc7": {"kernel": jnp.float32(gradient)}}, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(
        params["fc7"]["kernel"], theirs.detach().numpy(), rtol=1e-5, atol=1e-6
    )


def test_an_unknown_optimiser_is_named():
    with pytest.raises(ValueError, match="optimiser='adam' is unknown; choose one of sgd, adamw"):
        make_optimiser(SGD._replace(optimiser="adam"))


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
