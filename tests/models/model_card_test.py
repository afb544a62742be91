"""What a network says of itself, in one sentence."""

import json

import pytest

from dsf_jax.models.model_card import FeatureScore, ModelCard, RetrievalScore, TrainingSet

SETS = (
    TrainingSet("openmoji/sketch [train]", "sketch", 1043),
    TrainingSet("openmoji/photo [train]", "photo", 1043),
)
UNSEEN = RetrievalScore(
    ("openmoji/sketch [test]",),
    ("openmoji/photo [test]",),
    300,
    300,
    300,
    (FeatureScore("L6", 0.708, 0.09), FeatureScore("L7", 0.67, 0.088)),
)
SEEN = UNSEEN._replace(photos=("openmoji/photo [train+test]",))


def test_a_trained_and_measured_network():
    card = ModelCard(SETS, 1043).with_retrieval(UNSEEN)
    assert card.best_feature == "L6"
    assert card.sentence("runs/quickstart") == (
        "runs/quickstart was trained on 1,043 sketches and 1,043 photos of 1,043 classes (openmoji), and "
        "finds photos of openmoji/photo [test] with mAP .708, P@10 .090 (L6, 300 sketches, 300 photos of 300 "
        "classes); of pictures of another kind expect less"
    )


def test_what_is_not_known_is_said():
    assert (
        ModelCard().sentence("runs/old").startswith("nothing is known of what runs/old was trained")
    )
    assert "; of pictures" in ModelCard(SETS[:1], 9).sentence("it")
    assert "(openmoji), no photo among them, and how well it finds pictures was never measured" in (
        ModelCard(SETS[:1], 9).sentence("it")
    )
    measured = ModelCard().with_retrieval(UNSEEN).sentence("it")
    assert measured.startswith("it was trained on data that nothing is known of, and finds photos")


def test_data_that_was_trained_on_decides_nothing():
    card = ModelCard(SETS, 1043).with_retrieval(SEEN)
    assert card.best_feature == ""
    assert "[train+test] that it was trained on with mAP" in card.sentence("it")
    both = card.with_retrieval(UNSEEN)
    assert both.best_feature == "L6" and "photo [test] with mAP" in both.sentence("it")


def test_the_first_comparison_decides():
    one = UNSEEN._replace(features=UNSEEN.features[1:])
    card = ModelCard(SETS, 1043).with_retrieval(one)
    assert card.best_feature == ""  # nothing was compared
    card = card.with_retrieval(UNSEEN)
    other = UNSEEN._replace(sketches=("tu_berlin/sketch [fold2]",), features=UNSEEN.features[::-1])
    other = other._replace(features=(FeatureScore("L7", 0.9, None), FeatureScore("L6", 0.1, None)))
    assert len(card.retrieval) == 1  # the same data
    assert card.with_retrieval(other).best_feature == "L6"


def test_a_score_of_the_same_data_takes_its_old_place():
    other = UNSEEN._replace(photos=("tu_berlin/photo [test]",))
    again = UNSEEN._replace(features=(FeatureScore("L6", 0.2, None), FeatureScore("L7", 0.3, None)))
    card = ModelCard(SETS, 1043).with_retrieval(UNSEEN).with_retrieval(other).with_retrieval(again)
    assert card.retrieval == (again, other)


@pytest.mark.parametrize(
    ("trained", "scored", "held_out"),
    [
        ("train", "train[:10%]", False),
        ("train[:90%]", "train", False),
        ("train[10%:]", "train[:10%]", True),
        ("train[9%:]", "train[:10%]", False),
        ("train[:500]", "train[500:]", True),
        ("train[:500]", "train[499:]", False),
        ("train[:500]", "train[90%:]", False),  # how many there are, the name does not say
        ("train[:10%]", "train[-100:]", False),
        ("train[10%:]", "all", False),
        ("fold0+fold1", "test+fold1[:5]", False),
        ("all", "test", False),
        ("train", "all", False),
        ("train", "test[:10%]", True),
        ("fold0 + fold1", "fold2", True),
        ("fold0 + fold1", "fold1", False),
    ],
)
def test_a_part_of_what_was_trained_on_is_not_held_out(trained, scored, held_out):
    card = ModelCard((TrainingSet(f"zoo/sketch [{trained}]", "sketch", 9),), 3)
    score = UNSEEN._replace(sketches=(f"zoo/sketch [{scored}]",), photos=("zoo/photo [all]",))
    assert card.is_held_out(score) == held_out


@pytest.mark.parametrize("card", [ModelCard(), ModelCard(SETS, 1043).with_retrieval(UNSEEN)])
def test_a_card_is_json(card):
    assert ModelCard.from_json(json.loads(json.dumps(card._asdict()))) == card
