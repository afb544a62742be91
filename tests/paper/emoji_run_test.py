"""The quickstart from Python, on five emoji and a few steps."""

import dataclasses

import jax
import numpy as np
import pytest

from dsf_jax.data.mixtures import Count, Mixture
from dsf_jax.evaluation.extractors import NamedModel
from dsf_jax.evaluation.results import ResultRecord, read_result
from dsf_jax.evaluation.statistics import Measure
from dsf_jax.paper import emoji_run
from dsf_jax.training.checkpoints import load_model
from dsf_jax.training.start import train_on
from tests.training import tiny

pytestmark = pytest.mark.slow
NETWORKS = (emoji_run.ALEXNET, emoji_run.LITE0)


@pytest.fixture(scope="module", autouse=True)
def one_device():
    """Whole networks on all virtual devices take twice the time; small ones are trained on them elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        first = jax.devices()[:1]
        patch.setattr(jax, "devices", lambda: first)
        patch.setattr(jax, "local_device_count", lambda: len(first))
        yield


def small(network):
    return dataclasses.replace(network.config, steps=2, batch_size=4, cached_views=1, epochs=1)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, data_dir):
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "data").symlink_to(data_dir)
    return folder


@pytest.fixture(scope="module")
def mixture(run_dir):
    return emoji_run.training_data(run_dir)


@pytest.fixture(scope="module")
def started(mixture):
    return {network.title: emoji_run.start_model(network, mixture) for network in NETWORKS}


@pytest.fixture(scope="module")
def before(started, run_dir):
    """Taken before training, which takes the start values' memory."""
    model, _ = started[emoji_run.ALEXNET.title]
    return emoji_run.retrieve(NamedModel("AlexNet before training", model), run_dir)


@pytest.fixture(scope="module")
def trained(run_dir, mixture, started, before):
    del before
    models = {}
    for network in NETWORKS:
        folder = run_dir / network.folder
        assert train_on(small(network), mixture, started[network.title][0], folder).finished
        models[network.title] = NamedModel(network.title, load_model(folder))
    return models


@pytest.fixture
def scores(monkeypatch, run_dir, mixture, before, trained):
    monkeypatch.setattr(emoji_run, "RECOGNISED", 3)
    after = {name: emoji_run.retrieve(model, run_dir) for name, model in trained.items()}
    recognised = emoji_run.recognise(trained["AlexNet"], mixture, run_dir)
    return emoji_run.Scores({"AlexNet before training": before, **after}, recognised)


def test_what_packages_bring_is_loaded_and_the_rest_is_random(mixture, started):
    model, loaded = started["AlexNet"]
    assert model.class_names == mixture.class_names and len(mixture.class_names) == 5
    assert model.config.fresh_layers == ("fc6", "fc7", "fc8")
    assert "conv1" in str(loaded)
    model, loaded = started["EfficientNet-Lite0"]
    assert model.class_names == mixture.class_names
    assert model.config.fresh_layers == ("classifier", "class_vectors")
    assert model.default_feature == "embedding" and "block16_project" in str(loaded)


def test_unseen_emoji_are_retrieved_and_training_emoji_recognised(scores, run_dir):
    features = {name: tuple(results) for name, results in scores.retrieved.items()}
    assert features == {
        "AlexNet before training": ("L6", "L7", "L6+L7"),
        "AlexNet": ("L6", "L7", "L6+L7"),
        "EfficientNet-Lite0": ("embedding", "pooled"),
    }
    results = [x for results in scores.retrieved.values() for x in results.values()]
    assert all(result.counts["queries"] == 3 for result in results)
    assert scores.recognised.counts["examples"] == 3
    assert set(scores.recognised.numbers) >= {"accuracy/single_angle", "accuracy/voting"}
    stored = [read_result(path) for path in (run_dir / emoji_run.RESULTS).glob("*.json")]
    assert len(stored) == 9 and scores.recognised in stored


def recognised_value(tmp_path, digest):
    """The value of a stored recognition of two drawings, of data with this digest."""

    class Drawn(list):
        labels = np.arange(2)

    count = Count("openmoji/sketch [train]", "sketch", (1, 1), (), digest)
    mixture = Mixture(("ant", "bee"), Drawn([{}, {}]), Drawn(), (count,))
    named = NamedModel("tiny", tiny.start_model())
    return emoji_run.recognise(named, mixture, tmp_path).numbers["accuracy"].value


def test_recognition_is_made_again_for_other_data_and_another_method(monkeypatch, tmp_path):
    made = []

    def recognition(named, examples, labels, *, configuration, progress):
        del named, examples, labels, progress
        made.append(configuration)
        value = Measure(*[float(len(made))] * 3)
        return ResultRecord("tu_berlin", {"accuracy": value}, dict(configuration), {}, "", {})

    monkeypatch.setattr(emoji_run.evaluate, "recognition", recognition)
    monkeypatch.setattr(emoji_run, "unseen_view", lambda example: example)
    monkeypatch.setattr(emoji_run, "RECOGNISED", 2)
    assert [recognised_value(tmp_path, digest) for digest in ("1", "1", "2", "1")] == [1, 1, 2, 1]
    monkeypatch.setattr(emoji_run, "METHOD", emoji_run.METHOD + 1)
    assert recognised_value(tmp_path, "1") == 3


def test_an_unseen_view_is_turned_and_smaller(mixture):
    example = mixture.drawings[0]
    view = emoji_run.unseen_view(example)
    assert view["label"] == example["label"]
    seen, unseen = (np.ptp(x["points"].astype(int), axis=0).max() for x in (example, view))
    assert 0.7 * seen < unseen < 1.1 * seen


def test_report_and_figures(monkeypatch, scores, mixture, started, trained, run_dir):
    monkeypatch.setattr(emoji_run, "COMPARED", (0, 1))
    monkeypatch.setattr(emoji_run, "SHOWN", 2)
    monkeypatch.setattr(emoji_run, "NUMBERS", ("recall@1", "mAP"))  # 3 pictures have no rank 10
    emoji_run.draw(trained["AlexNet"].model, run_dir)
    loaded = {name: report for name, (_, report) in started.items()}
    text = emoji_run.report(mixture, scores, loaded, seconds=61.2, gigabytes=2.5)
    for picture in ("ranked_results", "resizing", "curves"):
        assert (run_dir / f"{picture}.png").exists() and f"({picture}.png)" in text
    assert "took 61 s and at most 2.5 GiB" in text and "5 classes" in text
    (head,) = [line for line in text.splitlines() if "recall@1" in line]
    table = text[text.index(head) :].splitlines()[:10]
    assert len({line.count("|") for line in table}) == 1
    shown = {tuple(cell.strip() for cell in line.split("|")[1:3]): line for line in table[2:]}
    for name, results in scores.retrieved.items():
        for feature, result in results.items():
            assert f"{result.numbers['mAP'].value:.3f}" in shown.pop((name, feature))
    assert not shown
    before = (run_dir / "curves.png").stat().st_mtime_ns
    emoji_run.draw(trained["AlexNet"].model, run_dir)
    assert (run_dir / "curves.png").stat().st_mtime_ns == before
