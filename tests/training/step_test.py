"""One step: equal on any number of devices, Caffe's update rule, frozen layers untouched."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dsf_jax.data.groups import collate
from dsf_jax.images import points as P
from dsf_jax.models.alexnet import AlexNet, init_params
from dsf_jax.training import parallel
from dsf_jax.training.step import Optimisation, TrainState, init_state, make_step, sgd, trained_part

SIZE = 67  # AlexNet's pool5 is 1 x 1 here
SETTINGS = Optimisation(0.01, 0.9, 5e-4, 10.0, ("fc8",))


class TinyNet(nn.Module):
    """Has what a step needs of AlexNet, a variant, named layers and dropout by key, at a thousandth
    of the cost."""

    num_classes: int = 5
    variant: str = "caffe"

    @nn.compact
    def __call__(self, inputs, dropout_keys=None, start="input"):
        x = nn.relu(nn.Conv(4, (7, 7), 4, name="conv1")(inputs / 100)).reshape(len(inputs), -1)
        x = nn.relu(nn.Dense(16, name="fc7")(x))
        if dropout_keys is not None:
            x *= jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (16,)))(dropout_keys)
        return nn.Dense(self.num_classes, name="fc8")(x), {}


@functools.cache
def tiny():
    model = TinyNet()
    return model, model.init(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))["params"]


@functools.cache
def alexnet():
    model = AlexNet(5)
    return model, jax.device_get(init_params(model, 0, size=SIZE))


def make_batch(drawings=7, photos=5, seed=0):
    rng = np.random.default_rng(seed)
    drawn = [
        {"points": P._unique(rng.integers(0, P.CANVAS, (300, 2))), "label": int(rng.integers(5))}
        for _ in range(drawings)
    ]
    shot = [
        {
            "photo": rng.integers(0, 256, (256, 256, 3)).astype(np.uint8),
            "label": int(rng.integers(5)),
        }
        for _ in range(photos)
    ]
    batch = {}
    if drawings:
        batch["drawings"] = collate(drawn, points_length=512)
    if photos:
        batch["photos"] = collate(shot, first=drawings)
    return batch


def run(devices, steps=2, train_layers="all", settings=SETTINGS, batch=None, network=tiny):
    model, params = network()
    optimiser, step = make_step(model, settings, train_layers, seed=3, size=SIZE)
    compiled = jax.pmap(
        step,
        axis_name=parallel.AXIS,
        in_axes=(None, 0),
        out_axes=None,
        devices=jax.devices()[:devices],
    )
    state = init_state(params, optimiser, train_layers)
    for i in range(steps):
        state, metrics = compiled(state, parallel.split(batch or make_batch(seed=i), devices))
    return jax.device_get(state), jax.device_get(metrics)


@pytest.mark.parametrize(("network", "steps"), [(tiny, 5), (alexnet, 1)])
def test_eight_devices_equal_one_with_views_and_dropout(network, steps):
    one, metrics_one = run(1, steps, network=network)
    eight, metrics_eight = run(8, steps, network=network)
    chex.assert_trees_all_close(metrics_one, metrics_eight, rtol=1e-5)
    for before, a, b in zip(
        *(jax.tree.leaves(t) for t in (network()[1], one.params, eight.params)), strict=True
    ):
        moved = np.abs(a - before).max()
        assert moved > 0
        assert np.abs(a - b).max() <= 1e-4 * moved + 1e-7
    assert one.step == eight.step == steps


def test_data_parallel_uses_all_devices_and_replicates_the_result():
    summed = parallel.data_parallel(
        lambda state, batch: parallel.across_devices(state + batch["g"]["label"].sum())
    )
    batch = {"g": {"label": np.arange(13), "weight": np.ones(13, np.float32)}}
    split = parallel.split(batch)
    assert split["g"]["label"].shape == (8, 2) and split["g"]["weight"].sum() == 13
    total = summed(jnp.int32(0), split)
    assert total.shape == () and total == 13 * 12 // 2 + 3 * 12


def test_padding_does_not_count():
    batch = make_batch(3, 0)
    padded = {"drawings": {k: np.concatenate([v, v[:1]]) for k, v in batch["drawings"].items()}}
    padded["drawings"]["weight"][-1] = 0
    (a, metrics_a), (b, metrics_b) = run(1, 1, batch=batch), run(1, 1, batch=padded)
    assert metrics_a["loss"][1] == metrics_b["loss"][1] == 3
    chex.assert_trees_all_close(a.params, b.params, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("train_layers", "moving"), [("fc", {"fc7", "fc8"}), ("last", {"fc8"})])
def test_frozen_layers_stay_bit_for_bit(train_layers, moving):
    state, _ = run(2, train_layers=train_layers)
    _, before = tiny()
    for layer in before:
        same = jax.tree.map(np.array_equal, before[layer], state.params[layer])
        assert same == {"kernel": layer not in moving, "bias": layer not in moving}


def test_update_rule_is_caffes():
    """v <- .9 v + lr mult (g + decay w), w <- w - v, by hand over three steps; biases not decayed,
    fresh layers at 10x."""
    optimiser = sgd(SETTINGS)
    params = {
        "fc7": {"kernel": jnp.array([[2.0]]), "bias": jnp.array([3.0])},
        "fc8": {"kernel": jnp.array([[4.0]]), "bias": jnp.array([5.0])},
    }
    expected = jax.tree.map(float, jax.device_get(jax.tree.map(jnp.sum, params)))
    velocity = jax.tree.map(lambda _: 0.0, expected)
    state = optimiser.init(params)
    for gradient in (1.0, -0.5, 2.0):
        updates, state = optimiser.update(
            jax.tree.map(lambda x, g=gradient: jnp.full_like(x, g), params), state, params
        )
        params = optax.apply_updates(params, updates)
        for layer in expected:
            for name in expected[layer]:
                decay = 5e-4 * expected[layer][name] if name == "kernel" else 0.0
                rate = 0.01 * (10.0 if layer == "fc8" else 1.0)
                velocity[layer][name] = 0.9 * velocity[layer][name] + rate * (gradient + decay)
                expected[layer][name] -= velocity[layer][name]
    got = jax.tree.map(lambda x: float(x.sum()), params)
    chex.assert_trees_all_close(got, expected, rtol=1e-6)


def test_views_change_from_step_to_step_and_follow_from_the_seed():
    batch = make_batch(4, 0)
    first, again = run(1, 1, batch=batch), run(1, 1, batch=batch)
    chex.assert_trees_all_equal(first[0].params, again[0].params)
    model, params = tiny()
    optimiser, step = make_step(model, SETTINGS, "all", seed=3, size=SIZE)
    compiled = jax.pmap(
        step, axis_name=parallel.AXIS, in_axes=(None, 0), out_axes=None, devices=jax.devices()[:1]
    )
    start = init_state(params, optimiser, "all")
    losses = [
        float(
            compiled(
                TrainState(jnp.int32(i), start.params, start.opt_state), parallel.split(batch, 1)
            )[1]["loss"][0]
        )
        for i in range(3)
    ]
    assert len(set(losses)) == 3


def test_training_learns_its_batch():
    batch = make_batch(8, 8)
    first, last = run(1, 1, batch=batch)[1], run(1, 40, batch=batch)[1]
    assert last["loss"][0] < 0.9 * first["loss"][0]  # dropout and new views at every step slow it


def test_unknown_layers_are_named():
    with pytest.raises(
        ValueError, match="train_layers='conv' is unknown; choose one of all, fc, last"
    ):
        trained_part({}, "conv")
