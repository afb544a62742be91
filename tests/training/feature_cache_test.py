"""Kept activations: each random view passes the frozen layers once, and the views are those of the
seed."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.data.mixtures import Examples, Mixture
from dsf_jax.images.points import pad_points
from dsf_jax.images.views import random_photo_view, random_sketch_view
from dsf_jax.models.backbones import BACKBONES
from dsf_jax.models.model import Model, ModelConfig
from dsf_jax.training.feature_cache import cached_batches
from dsf_jax.training.step import KEPT
from tests.backbones import TINY
from tests.images.drawn import random_points

pytestmark = pytest.mark.slow  # each compiles a network

SIZE = 23


class Averages(nn.Module):
    """Its "small" [b, 6, 6, 3] shows the view, shrunk."""

    num_classes: int
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs, dropout_keys=None, start="input"):
        factor = self.param("factor", nn.initializers.zeros, ())
        return inputs, {"small": nn.avg_pool(inputs, (3, 3), (4, 4)) * factor}


FACTOR = 0.5
AVERAGES = dataclasses.replace(TINY, name="averages", build=Averages)
MODEL = Model({"factor": jnp.float32(FACTOR)}, ModelConfig("averages", ("a",), SIZE, ()))


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(BACKBONES, "averages", AVERAGES)


@functools.cache
def mixture(drawings, photos):
    """Drawing i has label i, photo i has label 1000 + i; every one looks different."""
    rng = np.random.default_rng(0)
    drawn = [{"points": random_points(rng, 150 + i)} for i in range(drawings)]
    shot = [{"image": rng.integers(0, 256, (256, 256, 3)).astype(np.uint8)} for _ in range(photos)]

    def examples(records, first):
        n = len(records)
        lists = ([records], [np.arange(n)], [first + np.arange(n)]) if n else ([], [], [])
        return Examples(*lists)

    return Mixture(("a",), examples(drawn, 0), examples(shot, 1000), ())


def cached(mixed, *, views=2, batch_size=4, seed=5, per_class=0):
    return cached_batches(
        mixed, MODEL, activation="small", views=views, batch_size=batch_size, seed=seed,
        per_class=per_class,
    )  # fmt: skip


def rows(batches, steps):
    groups = [batches[step][KEPT] for step in range(steps)]
    return (
        np.concatenate([group[KEPT] for group in groups]),
        np.concatenate([group["label"] for group in groups]),
    )


sketch_view = jax.jit(random_sketch_view, static_argnames="size")
photo_view = jax.jit(random_photo_view, static_argnames="size")


def expected_pool5(mixed, label, view, seed):
    """The convolutions on one random view alone: its key follows from (seed, view, number of the
    example in the mixture)."""
    number = label if label < 1000 else len(mixed.drawings) + label - 1000
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), view), number)
    if label < 1000:
        padded = pad_points([mixed.drawings[label]["points"]])[0]
        image = sketch_view(key, padded, size=SIZE)
        colour = np.repeat(np.asarray(image)[..., None], 3, axis=-1)
    else:
        image = photo_view(key, mixed.photos[label - 1000]["photo"], size=SIZE)
        colour = np.asarray(image)[..., ::-1]
    mean = np.array([104.00699, 116.66877, 122.67891], np.float32)[None, None]
    pixels = colour.astype(np.float32) - mean
    cells = [
        [pixels[4 * i : 4 * i + 3, 4 * j : 4 * j + 3].mean(axis=(0, 1)) for j in range(6)]
        for i in range(6)
    ]
    return FACTOR * np.array(cells)


@pytest.mark.parametrize(
    ("drawings", "photos", "views"), [(5, 3, 2), (66, 2, 1), (4, 0, 3), (0, 3, 2)]
)
def test_every_view_of_every_example_once_in_each_round(drawings, photos, views):
    """66 drawings are more than the 64 that pass the convolutions at a time."""
    mixed = mixture(drawings, photos)
    total = (drawings + photos) * views
    batches = cached(mixed, views=views, batch_size=1)
    pool5, labels = rows(batches, 2 * total)
    assert pool5.shape == (2 * total, 6, 6, 3) and pool5.dtype == np.float32
    expected = {
        (label, view): expected_pool5(mixed, label, view, seed=5)
        for label in [*range(drawings), *range(1000, 1000 + photos)]
        for view in range(views)
    }
    for first in (0, total):
        left = dict(expected)
        for values, label in zip(pool5[first:][:total], labels[first:][:total], strict=True):
            matches = [
                key for key in left if key[0] == label and np.allclose(left[key], values, atol=1e-3)
            ]
            assert matches, f"label {label} has no such view, or shows it twice"
            del left[matches[0]]
        assert not left
    if total > 5:
        assert not np.array_equal(labels[:total], labels[total:]), "each round has its own order"


def test_views_of_an_example_differ_and_follow_from_the_seed():
    mixed = mixture(5, 3)

    def views_of(label, seed):
        pool5, labels = rows(cached(mixed, views=4, batch_size=1, seed=seed), 32)
        return sorted(values.tobytes() for values in pool5[labels == label])

    for label in (0, 1001):
        assert len(set(views_of(label, 5))) > 1
        assert views_of(label, 5) != views_of(label, 6)


def test_batches_are_a_function_of_the_seed_and_the_step():
    first, again = cached(mixture(5, 3)), cached(mixture(5, 3))
    in_order = [first[step] for step in range(9)]
    for step in (8, 0, 3, 8):
        for name, values in in_order[step][KEPT].items():
            np.testing.assert_array_equal(again[step][KEPT][name], values, err_msg=name)
    other = rows(cached(mixture(5, 3), seed=6), 4)[1]
    assert not np.array_equal(other, rows(first, 4)[1])


@pytest.mark.parametrize("batch_size", [3, 16, 40])
def test_batches_are_full_and_hold_no_padding(batch_size):
    """16 rows, the last of the three batches larger than all of them."""
    batches = cached(mixture(5, 3), batch_size=batch_size)
    pool5, labels = rows(batches, 1)
    group = batches[0][KEPT]
    assert list(batches[0]) == [KEPT]
    assert len(pool5) == len(labels) == batch_size
    assert group["weight"].dtype == np.float32 and (group["weight"] == 1).all()
    np.testing.assert_array_equal(group["example"], np.arange(batch_size))
    assert group["label"].dtype == np.int32
    shown = rows(batches, 16)[1]
    values, counts = np.unique(shown[: 16 * batch_size], return_counts=True)
    assert len(values) == 8 and (counts == 2 * batch_size).all()


def test_kept_activations_come_by_class_too():
    batches = cached(with_domains(mixture(5, 3)), views=2, batch_size=8, per_class=2)
    _, labels = rows(batches, 3)
    for start in range(0, 24, 8):
        counts = np.unique(labels[start : start + 8], return_counts=True)[1]
        assert not np.any(counts % 2)
        assert (labels[start : start + 8] < 1000).sum() == 4


def with_domains(mixed):
    """Says of each drawing that it is a sketch; classes are the numbers of the examples."""

    class Records(list):
        domain = "sketch"

    class Photos(list):
        domain = "photo"

    for examples, kind in ((mixed.drawings, Records), (mixed.photos, Photos)):
        examples._records = [kind(one) for one in examples._records]
    return mixed
