"""Protocols on data sets of a few pictures: results made once and kept, each from its own data."""

import numpy as np
import pytest

from dsf_jax.data.batches import collate, content
from dsf_jax.data.records import open_records
from dsf_jax.evaluation import evaluate, extractors
from dsf_jax.evaluation.extractors import HandCrafted, NamedModel
from dsf_jax.evaluation.protocols.category_retrieval import category_retrieval
from dsf_jax.evaluation.results import read_result
from dsf_jax.models.model import ModelConfig, init_model
from dsf_jax.retrieval.features import extract
from tests.backbones import TINY
from tests.launch.small_sets import CLASSES

pytestmark = pytest.mark.slow

SETS = {
    "category_retrieval": (("eitz_sbir/sketch", "test"), ("eitz_sbir/photo", "test")),
    "eitz_sbir": (("eitz_sbir/sketch", "test"), ("eitz_sbir/photo", "test")),
    "voc_retrieval": (
        ("pascal_voc_sbir/sketch", "test"),
        ("pascal_voc_sbir/photo", "train+val+test"),
    ),
}
OTHERS = {
    "instance_retrieval",
    "early_drawings",
}  # zero_shot_test and partial_drawings_test have their data


def named(seed=0, resizing="edge_preserving"):
    config = ModelConfig("tiny", CLASSES, TINY.size, (), resizing)
    return NamedModel("runs/tiny", init_model(config, seed))


def opened(prepared, protocol):
    return [[open_records(prepared, *names)] for names in SETS[protocol]]


def test_every_protocol_has_data_here():
    assert set(SETS) | OTHERS == set(evaluate.PROTOCOLS)


@pytest.mark.parametrize("protocol", SETS)
@pytest.mark.parametrize(
    "make", [named, lambda: HandCrafted("raw pixels")], ids=["network", "pixels"]
)
def test_results_are_made_once(protocol, make, prepared, tmp_path, monkeypatch):
    extractor, sets = make(), opened(prepared, protocol)
    made = evaluate.retrieval(extractor, *sets, protocol=protocol, results=tmp_path)
    assert list(made) == list(extractor.layers)
    (record,) = made.values()
    assert record.protocol == protocol and record.configuration["layer"] == extractor.layers[0]
    data = record.configuration["data"]
    assert data["sketches"][0]["digest"] == sets[0][0].digest
    assert data["photos"][0]["name"] == sets[1][0].name
    (path,) = tmp_path.glob("*.json")
    assert read_result(path) == record
    for name in ("extract_to_files", "write_blocks"):
        monkeypatch.setattr(extractors, name, None)  # nothing is computed again
    assert evaluate.retrieval(extractor, *sets, protocol=protocol, results=tmp_path) == made
    assert not any((tmp_path / "progress").iterdir())


@pytest.mark.parametrize("protocol", SETS)
def test_results_need_no_folder(protocol, prepared, tmp_path):
    sets = opened(prepared, protocol)
    kept = evaluate.retrieval(named(), *sets, protocol=protocol, results=tmp_path)
    assert evaluate.retrieval(named(), *sets, protocol=protocol) == kept


def test_sketches_by_several_views_have_their_own_result(prepared, tmp_path):
    """Their features are means, those of photos are not; one view is named nowhere, as ever."""
    sets, extractor = opened(prepared, "category_retrieval"), named()
    one, two, chosen = (
        evaluate.retrieval(extractor, *sets, results=tmp_path, **more)["L7"]
        for more in ({}, {"query_views": "mirrored"}, {"query_views": "one"})
    )
    assert len(list(tmp_path.glob("*.json"))) == 2 and chosen == one
    assert two.configuration["query_views"] == "mirrored"
    assert "query_views" not in one.configuration
    mixture = extractor.mixture([*sets[0], *sets[1]], sets[0][0].class_names)
    batch = content(collate(list(mixture.drawings)))
    plain = np.asarray(extractor.model.plain_view(batch))
    halves = [np.asarray(extractor.model(x)[1]["relu7"]) for x in (plain, plain[:, :, ::-1])]
    means = np.mean([x / np.linalg.norm(x, axis=1, keepdims=True) for x in halves], axis=0)
    photos = extract(extractor.model, mixture.photos)["L7"]
    own = category_retrieval(
        means / np.linalg.norm(means, axis=1, keepdims=True),
        query_labels=mixture.drawings.labels,
        gallery=photos,
        gallery_labels=mixture.photos.labels,
        configuration={},
    )
    assert two.numbers["mAP"].value == pytest.approx(own.numbers["mAP"].value, abs=1e-6)


def test_views_that_are_unknown_or_of_a_descriptor_are_refused(prepared):
    sets = opened(prepared, "category_retrieval")
    with pytest.raises(
        ValueError, match="views='two' is unknown; choose one of one, mirrored, all"
    ):
        evaluate.retrieval(named(), *sets, query_views="two")
    with pytest.raises(ValueError, match=r"raw pixels describes pictures by one view.*; choose"):
        evaluate.retrieval(HandCrafted("raw pixels"), *sets, query_views="all")


@pytest.mark.parametrize(
    ("other", "words"), [({"seed": 1}, "digest"), ({"resizing": "bilinear"}, "resizing")]
)
def test_another_model_has_another_result(other, words, prepared, tmp_path):
    sets = opened(prepared, "eitz_sbir")
    both = [
        evaluate.retrieval(model, *sets, protocol="eitz_sbir", results=tmp_path)["L7"]
        for model in (named(), named(**other))
    ]
    first, second = (record.configuration["checkpoint"] for record in both)
    assert [key for key in first if first[key] != second[key]] == [words]
    assert len(list(tmp_path.glob("*.json"))) == 2


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def batches(monkeypatch):
    """Counts the batches that are classified, and dies at one of them."""
    counted = {"done": 0, "dies_at": None}
    original = extractors.CLASSIFIERS["voting"]

    def voting(model, batch):
        if counted["done"] == counted["dies_at"]:
            raise Killed
        counted["done"] += 1
        return original(model, batch)

    monkeypatch.setitem(extractors.CLASSIFIERS, "voting", voting)
    monkeypatch.setattr(extractors, "CLASSIFIED_AT_ONCE", 2)
    return counted


def test_a_killed_recognition_goes_on_and_takes_nothing_of_other_data(prepared, tmp_path, batches):
    folds = [[open_records(prepared, "tu_berlin/sketch", f"fold{i}")] for i in range(2)]
    expected = [evaluate.recognise(named(), fold) for fold in folds]
    size = len(folds[0][0]) // 2
    assert size >= 2 and batches["done"] == 2 * size
    batches |= {"done": 0, "dies_at": 1}
    with pytest.raises(Killed):
        evaluate.recognise(named(), folds[0], results=tmp_path)
    assert not list(tmp_path.glob("*.json"))
    batches |= {"done": 0, "dies_at": None}
    assert evaluate.recognise(named(), folds[1], results=tmp_path) == expected[1]
    assert batches["done"] == size
    assert evaluate.recognise(named(), folds[0], results=tmp_path) == expected[0]
    assert batches["done"] == 2 * size - 1
    assert expected[0].configuration["size"] == TINY.size


def test_a_linear_classifier_of_features(prepared, tmp_path):
    train, test = (
        [open_records(prepared, "tu_berlin/sketch", split)] for split in ("fold0+fold1", "fold2")
    )
    record = evaluate.linear_recognition(HandCrafted("HOG"), train, test, results=tmp_path)
    assert record.protocol == "tu_berlin" and list(record.numbers) == ["accuracy/linear"]
    assert record.counts == {"examples": 4, "classes": 2}
    own = evaluate.linear_recognition(named(), train, test, layer="L7", fold=2)
    assert own.configuration["layer"] == "L7" and own.configuration["fold"] == 2
    assert np.isfinite(own.numbers["accuracy/linear"].value)
