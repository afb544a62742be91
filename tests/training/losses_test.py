"""Losses are sums and counts over examples, against formulas in NumPy."""

import jax
import numpy as np
import pytest

from dsf_jax.training.config import TrainConfig
from dsf_jax.training.losses import LOSSES, loss_named


def softmax_by_hand(logits, features, labels, weights):
    logits = logits.astype(np.float64)
    right = logits[np.arange(len(labels)), labels]
    return ((np.log(np.exp(logits).sum(axis=1)) - right) * weights).sum(), weights.sum()


def cosface_by_hand(logits, features, labels, weights):
    """Wang et al. 2018, formula 4, with s = 16 and m = .35."""
    cosines = logits.astype(np.float64) / 16
    losses = []
    for row, label in zip(cosines, labels, strict=True):
        right = np.exp(16 * (row[label] - 0.35))
        losses.append(-np.log(right / (right + np.exp(16 * np.delete(row, label)).sum())))
    return np.dot(losses, weights), weights.sum()


def contrastive_by_hand(logits, features, labels, weights):
    """Khosla et al. 2020, formula 2, pair by pair."""
    features = features.astype(np.float64)
    there = np.flatnonzero(weights)
    losses = []
    for i in there:
        others = [j for j in there if j != i]
        positives = [j for j in others if labels[j] == labels[i]]
        against = sum(np.exp(16.0 * features[i] @ features[j]) for j in others)
        terms = [-np.log(np.exp(16.0 * features[i] @ features[j]) / against) for j in positives]
        if positives:
            losses.append(np.mean(terms))
    return sum(losses), len(losses)


def both_by_hand(*arguments):
    (one, count), (other, anchors) = softmax_by_hand(*arguments), contrastive_by_hand(*arguments)
    return (one / count + (other / anchors if anchors else 0)) * count, count


BY_HAND = {
    "softmax": softmax_by_hand,
    "cosine": softmax_by_hand,
    "cosface": cosface_by_hand,
    "contrastive": contrastive_by_hand,
    "cosine+contrastive": both_by_hand,
}


def test_every_loss_is_tested():
    assert BY_HAND.keys() == LOSSES.keys()


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_described(name):
    # What --help of launch.train says.
    described = TrainConfig.__doc__.partition(" loss: ")[2].partition(
        "\n      examples_per_class:"
    )[0]
    assert f"{name} (" in described


def some_examples(labels=(2, 0, 2, 1, 0, 2)):
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((6, 4), np.float32)
    features = rng.standard_normal((6, 8), np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return logits, features, np.int32(labels), np.float32([1, 1, 1, 1, 0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("compiled", [False, True])
def test_a_loss_equals_its_formula_and_padding_does_not_count(name, compiled):
    arguments = some_examples()
    loss = jax.jit(loss_named(name).function) if compiled else loss_named(name).function
    total, count = loss(*arguments)
    np.testing.assert_allclose((total, count), BY_HAND[name](*arguments), rtol=1e-5)
    alone = loss(*(x[:4] for x in arguments))
    np.testing.assert_allclose((total, count), alone, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weights", [[1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]])
def test_gradients_are_finite_where_there_is_no_pair(name, weights):
    logits, features, labels, _ = some_examples((0, 1, 2, 3, 0, 1))
    weights = np.float32(weights)

    def total(logits, features):
        return loss_named(name).function(logits, features, labels, weights)[0]

    gradients = jax.grad(total, (0, 1))(logits, features)
    assert all(np.isfinite(x).all() for x in gradients)
    if name == "contrastive":
        assert total(logits, features) == 0.0 and not np.any(gradients[1])


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_of_a_batch_without_a_pair_is_finite(name):
    # Of classes that a domain lacks, a batch may hold one example each: training goes on.
    logits, features, labels, weights = some_examples((0, 1, 2, 3, 0, 1))
    total, count = loss_named(name).function(logits, features, labels, weights)
    assert np.isfinite(total / count) and count > 0


def test_an_unknown_loss_is_named():
    with pytest.raises(ValueError, match="loss='hinge' is unknown; choose one of softmax"):
        loss_named("hinge")
