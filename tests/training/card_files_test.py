"""A card goes with its checkpoint, is completed by evaluations, and decides the default feature."""

import json

import pytest

from dsf_jax.models.model_card import FeatureScore, ModelCard, RetrievalScore, TrainingSet
from dsf_jax.training.card_files import FILE
from dsf_jax.training.checkpoints import load_model, record_retrieval, save_model
from tests.training.tiny import start_model

CARD = ModelCard((TrainingSet("openmoji/sketch [train]", "sketch", 9),), 9)
SCORE = RetrievalScore(
    ("a/sketch [test]",),
    ("a/photo [test]",),
    3,
    4,
    2,
    (FeatureScore("L1", 0.5, None), FeatureScore("L7", 0.4, None)),
)


def test_a_card_is_saved_with_the_model_and_completed(tmp_path):
    model = start_model().replace(card=CARD)
    save_model(tmp_path, model)
    assert load_model(tmp_path).card == CARD
    assert load_model(tmp_path).default_feature == "L7"  # the backbone's
    record_retrieval(tmp_path, model, SCORE)
    again = load_model(tmp_path)
    assert again.card == CARD.with_retrieval(SCORE)
    assert again.default_feature == again.card.best_feature == "L1"
    save_model(tmp_path / "exported", again)  # what was measured travels along
    assert load_model(tmp_path / "exported").card == again.card


ONE_FEATURE = SCORE._replace(features=SCORE.features[1:])
OTHER = RetrievalScore(
    ("b/sketch [test]",),
    ("b/photo [test]",),
    3,
    4,
    2,
    (FeatureScore("L1", 0.1, None), FeatureScore("L7", 0.8, None)),
)


@pytest.mark.parametrize(
    ("measured", "best"),
    [
        ((SCORE, OTHER, SCORE), "L1"),
        ((SCORE, OTHER, ONE_FEATURE), "L1"),
        ((ONE_FEATURE, OTHER, SCORE), "L7"),
    ],
)
def test_what_the_first_comparison_decided_stays(tmp_path, measured, best):
    save_model(tmp_path, start_model().replace(card=CARD))
    for score in measured:
        record_retrieval(tmp_path, load_model(tmp_path), score)
    card = load_model(tmp_path).card
    assert card.best_feature == best
    assert card.retrieval == (measured[2], OTHER)


def test_what_was_measured_of_other_parameters_is_not_taken(tmp_path):
    save_model(tmp_path, start_model())
    other = start_model()
    other = other.replace(
        params={
            **other.params,
            "fc8": {**other.params["fc8"], "bias": other.params["fc8"]["bias"] + 1},
        }
    )
    record_retrieval(tmp_path, other, SCORE)
    assert load_model(tmp_path).card == ModelCard()


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"DIGEST": {"retrieval": [1]}}', '{"DIGEST": {"retrieval": [[1, 2]]}}']
)
def test_a_damaged_file_is_named(tmp_path, content):
    model = start_model()
    save_model(tmp_path, model)
    (tmp_path / FILE).write_text(content.replace("DIGEST", model.digest()))
    with pytest.raises(ValueError, match=rf"{FILE} is damaged .*; remove it"):
        load_model(tmp_path)


def test_a_checkpoint_of_an_earlier_version_has_no_card(tmp_path):
    save_model(tmp_path, start_model())
    (file,) = (tmp_path / "0" / "model").glob("metadata")
    content = json.loads(file.read_text())
    del content["card"]
    file.write_text(json.dumps(content))
    assert load_model(tmp_path).card == ModelCard()
