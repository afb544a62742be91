"""Zero-shot and instance retrieval on a few prepared pictures in Sketchy's layout."""

import pytest

from dsf_jax.data.datasets import all_classes
from dsf_jax.data.records import open_records
from dsf_jax.data.unseen import UnseenClasses
from dsf_jax.evaluation import evaluate
from dsf_jax.evaluation.extractors import HandCrafted, NamedModel
from dsf_jax.evaluation.summary import summary
from dsf_jax.evaluation.zero_shot import ZeroShot
from dsf_jax.models.model import ModelConfig, init_model
from dsf_jax.models.model_card import ModelCard, TrainingSet
from dsf_jax.paper.layout import retrieval_table
from tests.backbones import TINY
from tests.data_builders.drawn import write_tree
from tests.data_builders.sketchy_test import CLASSES, both, official

pytestmark = pytest.mark.slow

UNSEEN = UnseenClasses("mine", "sketchy", ("airplane", "car (sedan)"))
RAW = HandCrafted("raw pixels")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sketchy")
    data_dir = both(write_tree(folder / "in", official()), folder / "out")
    names = ("sketchy/sketch", "sketchy/photo")
    return [[open_records(data_dir, name, "train")] for name in names]


def only(made):
    (record,) = made.values()
    return record


def test_unseen_classes_are_asked_for_among_their_photos_or_all(sets, tmp_path):
    everything = only(evaluate.retrieval(RAW, *sets, results=tmp_path))
    assert (everything.counts["queries"], everything.counts["gallery"]) == (45, 15)
    plain, generalised = (
        only(evaluate.retrieval(RAW, *sets, zero_shot=ZeroShot(UNSEEN, wide), results=tmp_path))
        for wide in (False, True)
    )
    assert (plain.counts["queries"], plain.counts["gallery"]) == (30, 10)
    assert (generalised.counts["queries"], generalised.counts["gallery"]) == (30, 15)
    assert plain.counts["classes"] == generalised.counts["classes"] == 2
    # More photos of other classes can only come in between.
    assert generalised.numbers["mAP"].value <= plain.numbers["mAP"].value
    assert len(list(tmp_path.glob("*.json"))) == 3
    told = plain.configuration["zero_shot"]
    assert told | {"asked": ""} == {
        "list": "mine", "classes": list(UNSEEN.classes), "generalised": False, "asked": "",
    }  # fmt: skip
    asked = "sketches of the unseen classes mine, among photos of"
    assert f"zero-shot: {asked} these classes" in summary([plain])
    assert f"Zero-shot: {asked} all classes." in retrieval_table({("RAW", ""): generalised}).notes


def test_classes_that_are_not_there(sets):
    absent = ZeroShot(UNSEEN._replace(classes=("axe",)))
    with pytest.raises(ValueError, match="1 of the 1 unseen classes of mine are in none"):
        evaluate.retrieval(RAW, *sets, zero_shot=absent)
    every = [records for one in sets for records in one]
    mixture = RAW.mixture(every, all_classes(every, None))
    undrawn = mixture.drawings.where(mixture.drawings.labels > 1)
    with pytest.raises(ValueError, match="0 sketches and 10 photos are of the unseen classes"):
        ZeroShot(UNSEEN).of(mixture._replace(drawings=undrawn), None)


def test_a_network_that_knows_unseen_classes_is_refused(sets):
    config = ModelConfig("tiny", CLASSES, TINY.size, ())
    trained = NamedModel("tiny", init_model(config, 0))
    with pytest.raises(ValueError, match=r"trained on 2 of the unseen classes .* --unseen=mine"):
        evaluate.retrieval(trained, *sets, zero_shot=ZeroShot(UNSEEN))
    fresh = NamedModel("tiny", init_model(config._replace(fresh_layers=("fc8",)), 0))
    assert evaluate.retrieval(fresh, *sets, zero_shot=ZeroShot(UNSEEN))


def test_a_network_that_learned_unseen_classes_without_a_classifier_is_refused():
    config = ModelConfig("tiny", CLASSES, TINY.size, ("fc8",))  # as after loss=contrastive
    card = ModelCard((TrainingSet("sketchy/sketch [train]", "sketch", 9),), len(CLASSES))
    trained = init_model(config, 0).replace(card=card)
    with pytest.raises(ValueError, match=r"trained on 2 of the unseen classes .* --unseen=mine"):
        ZeroShot(UNSEEN).check_untrained(trained, None)


def test_own_photos_are_found_by_their_names(sets):
    record = only(evaluate.retrieval(RAW, *sets, protocol="instance_retrieval", ks=(1, 5)))
    assert record.counts == {
        "queries": 45, "queries_without_photo": 0, "gallery": 15, "classes": 3,
    }  # fmt: skip
    assert record.numbers["acc@5 within class"].value == 1  # there are five of each
    assert record.numbers["acc@1, chance"].value == pytest.approx(1 / 15)
    photos = RAW.mixture(sets[1], CLASSES).photos
    with pytest.raises(ValueError, match="no field 'photo_id'; its fields are"):
        photos.values("photo_id")
