"""A network with an embedding, through the scripts: what it is trained by, found by and exported with."""

import json

import numpy as np
import pytest

from dsf_jax.export.load import load_export
from dsf_jax.retrieval.features import embed
from dsf_jax.training.checkpoints import load_model
from tests import backbones  # noqa: F401  # registers them
from tests.launch.scripts import ALL

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def training(data_dir):
    """Flags of two steps of a tiny network: two examples of each of two classes from each domain."""
    return {
        "data_dir": data_dir, "init": "random", "backbone": "tiny", "datasets": ALL, "steps": 2,
        "batch_size": 12, "loss": "cosine+contrastive", "examples_per_class": 2, "embedding": 6,
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(launch, training, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("embedding") / "run"
    told = launch("train", run_dir=run_dir, **training).succeeded()
    assert "a tiny network with an embedding of 6" in told
    return run_dir


def test_it_is_kept_and_another_one_is_another_run(launch, training, trained):
    assert load_model(trained).config.embedding == 6
    again = training | {"run_dir": trained, "steps": 3}
    launch("train", **again | {"embedding": 7}).failed("embedding is 6 there and 7 now")
    changed = again | {"examples_per_class": 3, "batch_size": 18}
    launch("train", **changed).failed("examples_per_class is 2 there and 3 now")


def test_it_is_evaluated_and_found_by(launch, data_dir, trained, tmp_path):
    told = launch(
        "evaluate", checkpoint=trained, data_dir=data_dir, split="train", json=True
    ).succeeded()  # fmt: skip
    layers = [result["configuration"].get("layer") for result in json.loads(told)]
    assert {"embedding", "L7"} <= set(layers)


def test_it_is_exported(launch, trained, tmp_path):
    launch("export", checkpoint=trained, out=tmp_path / "export").succeeded()
    exported, model = load_export(tmp_path / "export"), load_model(trained)
    photos = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    features = exported.photo_features(photos)["embedding"]
    np.testing.assert_allclose(features, embed(model, {"photo": photos}), atol=1e-5)
    assert load_model(tmp_path / "export").config.embedding == 6
