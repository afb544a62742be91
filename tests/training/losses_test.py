"""Losses are sums and counts over examples, against formulas in NumPy."""

import jax
import numpy as np
import pytest

from dsf_jax.training.losses import LOSSES, loss_named


def softmax_by_hand(logits, features, labels, weights):
    logits = logits.astype(np.float64)
    right = logits[np.arange(len(labels)), labels]
    return ((np.log(np.exp(logits).sum(axis=1)) - right) * weights).sum(), weights.sum()


BY_HAND = {"softmax": softmax_by_hand}


def test_every_loss_is_tested():
    assert BY_HAND.keys() == LOSSES.keys()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("compiled", [False, True])
def test_a_loss_equals_its_formula_and_padding_does_not_count(name, compiled):
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((6, 4), np.float32)
    features = rng.standard_normal((6, 8), np.float32)
    labels = rng.integers(0, 4, 6).astype(np.int32)
    weights = np.float32([1, 1, 1, 1, 0, 0])
    loss = jax.jit(loss_named(name)) if compiled else loss_named(name)
    total, count = loss(logits, features, labels, weights)
    expected = BY_HAND[name](logits, features, labels, weights)
    np.testing.assert_allclose((total, count), expected, rtol=1e-5)
    alone = loss(logits[:4], features[:4], labels[:4], weights[:4])
    np.testing.assert_allclose((total, count), alone, rtol=1e-6)


def test_an_unknown_loss_is_named():
    with pytest.raises(ValueError, match="loss='hinge' is unknown; choose one of softmax"):
        loss_named("hinge")
