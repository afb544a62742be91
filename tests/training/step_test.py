"""One step: equal on any number of devices, Caffe's update rule, frozen layers untouched."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.data.batches import collate
from dsf_jax.images.hand import Hand
from dsf_jax.images.views import HAND, plain_view
from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.embedding import CLASS_VECTORS
from dsf_jax.models.model import Model, ModelConfig, init_model, with_embedding
from dsf_jax.training import parallel
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.losses import loss_named
from dsf_jax.training.optimiser import make_optimiser
from dsf_jax.training.step import (
    DROPOUT,
    StepConfig,
    example_keys,
    held_out_step,
    init_state,
    train_step,
)
from tests.images.drawn import random_points
from tests.training.tiny import CLASSES, TinyNet, start_model

pytestmark = pytest.mark.slow

SIZE = 67  # AlexNet's pool5 is 1 x 1 here
FRESH = ModelConfig("tiny", CLASSES, SIZE, ("fc8",))
SGD = TrainConfig(learning_rate=0.01, schedule="constant").optimiser_config(FRESH, 100)


@functools.cache
def tiny():
    """A thousandth of AlexNet's cost."""
    return start_model(SIZE)


@functools.cache
def alexnet():
    return jax.device_get(init_model(FRESH._replace(backbone="caffe"), 0))


def make_batch(drawings=7, photos=5, seed=0):
    rng = np.random.default_rng(seed)
    drawn = [
        {"points": random_points(rng, 300), "label": int(rng.integers(5))} for _ in range(drawings)
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


@functools.cache
def with_vectors():
    return jax.device_get(with_embedding(tiny(), 6, seed=1))


def step_config(model, train_layers="all", accumulate=1, loss="softmax"):
    learning = model.backbone.learning(train_layers)
    hand = Hand(0.5, 0.01)
    return StepConfig(make_optimiser(SGD), loss_named(loss), learning, 0.5, 3, hand, accumulate)


def run(
    devices, steps=2, train_layers="all", batch=None, network=tiny, accumulate=1, loss="softmax"
):
    model = network()
    config = step_config(model, train_layers, accumulate, loss)
    compiled = jax.pmap(
        functools.partial(train_step, config=config),
        axis_name=parallel.AXIS,
        in_axes=(None, 0),
        out_axes=None,
        devices=jax.devices()[:devices],
    )
    state = init_state(model, config)
    for i in range(steps):
        cut = parallel.split(batch or make_batch(seed=i), devices)
        state, metrics = compiled(state, cut)
    return jax.device_get(state), jax.device_get(metrics)


@functools.cache
def reference():
    """Two steps of the tiny network on one device, in one pass."""
    return run(1)


def assert_equal_to_rounding(one, other, before):
    """Compares two results of `run` by how far the parameters have moved."""
    chex.assert_trees_all_close(one[1], other[1], rtol=1e-5)
    trees = (before, one[0].model.params, other[0].model.params)
    for start, a, b in zip(*map(jax.tree.leaves, trees), strict=True):
        moved = np.abs(a - start).max()
        assert moved > 0
        assert np.abs(a - b).max() <= 1e-4 * moved + 1e-7


@pytest.mark.parametrize(("network", "steps"), [(tiny, 5), (alexnet, 1)])
def test_eight_devices_equal_one_with_views_and_dropout(network, steps):
    one, eight = (run(devices, steps, network=network) for devices in (1, 8))
    assert_equal_to_rounding(one, eight, network().params)
    assert one[0].step == eight[0].step == steps


def test_dropout_and_the_hand_draw_from_keys_of_their_own():
    """Else what is dropped would follow from the width of the pen."""
    keys = example_keys(0, jnp.int32(5), jnp.arange(8))
    dropped, drawn = (
        jax.random.key_data(
            jax.vmap(lambda key, number=number: jax.random.fold_in(key, number))(keys)
        )
        for number in (DROPOUT, HAND)
    )
    assert (dropped != drawn).any(axis=1).all()


@pytest.mark.parametrize("loss", ["contrastive", "cosine+contrastive"])
def test_pairs_are_those_of_the_whole_batch_however_many_devices(loss):
    one, three = (run(devices, 1, network=with_vectors, loss=loss) for devices in (1, 3))
    moved = [
        {layer: x for layer, x in result.model.params.items() if layer != CLASS_VECTORS}
        for result in (one[0], three[0])
    ]
    for start, a, b in zip(*map(jax.tree.leaves, (tiny().params, *moved)), strict=True):
        if a.shape == start.shape:
            assert np.abs(a - start).max() > 0
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for metric, (total, count) in one[1].items():
        again, as_often = three[1][metric]
        np.testing.assert_allclose(total / count, again / as_often, rtol=1e-5, err_msg=metric)
    vectors = [x.model.params[CLASS_VECTORS]["kernel"] for x in (one[0], three[0])]
    np.testing.assert_allclose(*vectors, rtol=1e-4, atol=1e-6)


def shown_sizes(monkeypatch):
    """Records how many images each call of the network is traced with."""
    seen, apply = set(), Model.apply

    def record(model, inputs, *rest, **options):
        seen.add(len(inputs))
        return apply(model, inputs, *rest, **options)

    monkeypatch.setattr(Model, "apply", record)
    return seen


def limit_images(monkeypatch, most):
    """Has every network say that so many images do best at once."""
    whole = vars(Model)["backbone"]
    monkeypatch.setattr(
        Model,
        "backbone",
        property(lambda model: dataclasses.replace(whole.fget(model), trained_at_once=most)),
    )


@pytest.mark.parametrize(
    ("devices", "accumulate", "parts"), [(1, 3, {4}), (1, 5, {3}), (8, 2, {1}), (8, 9, {1})]
)
def test_a_batch_in_parts_equals_one_pass(devices, accumulate, parts, monkeypatch):
    """7 drawings and 5 photos in five parts are three each: the last ones are padding."""
    whole = reference()
    seen = shown_sizes(monkeypatch)
    in_parts = run(devices, accumulate=accumulate)
    assert seen == parts, "the network never sees more at once"
    assert in_parts[1]["loss"][1] == 12, "padding does not count"
    assert_equal_to_rounding(whole, in_parts, tiny().params)


@pytest.mark.parametrize(("accumulate", "parts"), [(1, {4}), (6, {2})])
def test_a_network_says_how_many_images_do_best_at_once(accumulate, parts, monkeypatch):
    """On CPUs, which tests run on; what it is told to take in smaller parts it does."""
    whole = reference()
    limit_images(monkeypatch, 5)
    seen = shown_sizes(monkeypatch)
    in_parts = run(1, accumulate=accumulate)
    assert seen == parts
    assert_equal_to_rounding(whole, in_parts, tiny().params)


def test_pairs_are_compared_all_at_once(monkeypatch):
    limit_images(monkeypatch, 5)
    seen = shown_sizes(monkeypatch)
    run(1, 1, network=with_vectors, loss="contrastive")
    assert seen == {12}


def test_bfloat16_computes_otherwise_and_keeps_parameters_in_float32():
    def network():
        return tiny().replace(dtype=jnp.bfloat16)

    full, half = reference(), run(1, network=network)
    states = (half[0].model.params, half[0].opt_state[-1])
    assert {x.dtype for x in jax.tree.leaves(states)} == {np.dtype(np.float32)}
    chex.assert_trees_all_close(full[1], half[1], rtol=0.02)
    trees = (tiny().params, full[0].model.params, half[0].model.params)
    for start, a, b in zip(*map(jax.tree.leaves, trees), strict=True):
        assert 0 < np.linalg.norm(a - b) < 0.1 * np.linalg.norm(a - start)


@pytest.mark.parametrize(("drawings", "photos"), [(7, 5), (20, 0)])
def test_held_out_examples_are_scored_once_each_by_their_plain_views(drawings, photos):
    batch = make_batch(drawings, photos)
    for group in batch.values():
        group["weight"][-2:] = 0.0  # as in a last batch, which is padded already
    model = tiny()
    score = parallel.data_parallel(held_out_step, donate=False)
    got = jax.device_get(score(model, parallel.split(batch)))
    losses, hits = [], []
    for group in batch.values():
        inputs = CAFFE.preprocess(plain_view(group, size=SIZE))
        logits = np.float64(TinyNet(len(CLASSES)).apply({"params": model.params}, inputs)[0])[:-2]
        labels = group["label"][:-2]
        right = logits[np.arange(len(labels)), labels]
        losses.extend(np.log(np.exp(logits).sum(axis=1)) - right)
        hits.extend(logits.argmax(axis=1) == labels)
    assert got["loss"] == (pytest.approx(sum(losses), rel=1e-5), len(losses))
    assert got["accuracy"] == (sum(hits), len(hits)) and 0 < sum(hits) < len(hits)
    assert jax.device_get(score(model, parallel.split(batch))) == got  # the model is not donated


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
    chex.assert_trees_all_close(a.model.params, b.model.params, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("train_layers", "moving"), [("fc", {"fc7", "fc8"}), ("last", {"fc8"})])
def test_frozen_layers_stay_bit_for_bit(train_layers, moving):
    state, _ = run(2, train_layers=train_layers)
    before = tiny().params
    for layer in before:
        same = jax.tree.map(np.array_equal, before[layer], state.model.params[layer])
        assert same == {"kernel": layer not in moving, "bias": layer not in moving}


def test_views_change_from_step_to_step_and_follow_from_the_seed():
    batch = make_batch(4, 0)
    first, again = run(1, 1, batch=batch), run(1, 1, batch=batch)
    chex.assert_trees_all_equal(first[0].model.params, again[0].model.params)
    config = step_config(tiny())
    compiled = jax.pmap(
        functools.partial(train_step, config=config),
        axis_name=parallel.AXIS,
        in_axes=(None, 0),
        out_axes=None,
        devices=jax.devices()[:1],
    )
    start = init_state(tiny(), config)
    losses = [
        float(compiled(start.replace(step=jnp.int32(i)), parallel.split(batch, 1))[1]["loss"][0])
        for i in range(3)
    ]
    assert len(set(losses)) == 3


def test_training_learns_its_batch():
    batch = make_batch(8, 8)
    first, last = run(1, 1, batch=batch)[1], run(1, 80, batch=batch)[1]
    assert last["loss"][0] < 0.9 * first["loss"][0]  # dropout and new views at every step slow it
