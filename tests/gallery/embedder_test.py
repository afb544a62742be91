"""What turns a gallery's photos into features is that of the network."""

import numpy as np
import pytest

from dsf_jax.gallery import embedder
from dsf_jax.gallery.embedder import Embedder, network_embedder
from dsf_jax.retrieval import features
from tests.training.tiny import start_model


@pytest.mark.slow
def test_the_embedder_of_a_network(monkeypatch):
    """The features of `dsf_jax.retrieval.features`, by default of the backbone's own kind."""
    asked = []

    def embed(model, batch, *, layer):
        asked.append((model.config, batch["photo"].shape, layer))
        return np.ones((2, 3), np.float32)

    model = start_model()
    photos = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    found = network_embedder(model).embed_photos(photos)
    np.testing.assert_array_equal(found, features.embed(model, {"photo": photos}, layer="L7"))
    with pytest.raises(ValueError, match="layer='L8' is unknown; choose one of"):
        network_embedder(model, layer="L8").features(photos)
    monkeypatch.setattr(embedder, "embed", embed)
    made = network_embedder(model, layer="L1", batch_size=2)
    assert made.embed_photos(photos).shape == (2, 3)
    assert asked == [(model.config, (2, 256, 256, 3), "L1")]
    assert made[:2] == (model.digest(), "L1") and made[3:5] == (2, "tiny")


@pytest.mark.parametrize(
    ("photos", "at_most", "size"),
    [(1, 64, 1), (2, 64, 8), (8, 64, 8), (9, 64, 64), (64, 64, 64), (5, 6, 6), (1, 1, 1)],
)
def test_few_sizes_are_compiled_and_one_photo_is_a_batch_of_its_own(photos, at_most, size):
    asked = []

    def means(batch):
        asked.append(batch.shape)
        return batch.mean(axis=(1, 2))

    shown = np.random.default_rng(0).integers(0, 256, (photos, 4, 4, 3), np.uint8)
    found = Embedder("digest", "L7", means, at_most).features(shown)
    np.testing.assert_array_equal(found, shown.mean(axis=(1, 2)))
    assert asked == [(size, 4, 4, 3)]
