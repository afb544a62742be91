"""Which network and which pictures the page opens with, when no gallery is named."""

import jax
import pytest

from dsf_jax.app.opening import open_searcher
from dsf_jax.data import quickstart
from dsf_jax.models.model_card import FeatureScore, RetrievalScore
from dsf_jax.training.checkpoints import load_model, record_retrieval, save_model
from tests.training.tiny import start_model

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path, data_dir):
    """The paper's network and the second one, not yet measured, with their data."""
    model = start_model()
    other = model.replace(params=jax.tree.map(lambda x: 0.5 * x, model.params))
    (tmp_path / "data").symlink_to(data_dir)
    for folder, own in ((tmp_path, model), (tmp_path / quickstart.SECOND, other)):
        save_model(folder, own)
    return tmp_path


def measured(folder, mean_average_precision):
    features = (FeatureScore("L7", mean_average_precision, None),)
    score = RetrievalScore(("a [test]",), ("b [test]",), 3, 4, 2, features)
    model = load_model(folder)
    record_retrieval(folder, model, score)
    return model.digest()


def test_the_network_that_finds_unseen_pictures_better_is_served(run):
    first = measured(run, 0.7)
    opened = open_searcher(str(run), None)
    assert opened.model.digest() == first and len(opened.gallery) == 8
    second = measured(run / quickstart.SECOND, 0.8)
    opened = open_searcher(str(run), None)
    assert opened.model.digest() == second and len(opened.gallery) == 8
    assert set(quickstart.galleries(run)) == {first, second}


def test_a_gallery_of_ones_own_takes_the_network_that_is_named(run):
    first = measured(run, 0.7)
    open_searcher(str(run), None)
    measured(run / quickstart.SECOND, 0.8)
    uri = quickstart.gallery(run, first)
    assert open_searcher(str(run), str(uri)).model.digest() == first
