"""The quickstart from Python, on five emoji and a few steps."""

import dataclasses

import numpy as np
import pytest

from dsf_jax.evaluation.extractors import NamedModel
from dsf_jax.evaluation.results import read_result
from dsf_jax.paper import emoji_run
from dsf_jax.training.checkpoints import load_model
from dsf_jax.training.start import train_on

pytestmark = pytest.mark.slow
SMALL = dataclasses.replace(emoji_run.CONFIG, steps=2, batch_size=4, cached_views=1)


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
    return emoji_run.start_model(mixture)


@pytest.fixture(scope="module")
def before(started, run_dir):
    """Taken before training, which takes the start values' memory."""
    return emoji_run.retrieve(NamedModel("before training", started[0]), run_dir)


@pytest.fixture(scope="module")
def trained(run_dir, mixture, started, before):
    del before
    assert train_on(SMALL, mixture, started[0], run_dir).finished
    return NamedModel("after training", load_model(run_dir))


@pytest.fixture
def scores(monkeypatch, run_dir, mixture, before, trained):
    monkeypatch.setattr(emoji_run, "RECOGNISED", 3)
    after = emoji_run.retrieve(trained, run_dir)
    return emoji_run.Scores(before, after, emoji_run.recognise(trained, mixture, run_dir))


def test_convolutions_are_loaded_and_the_rest_is_random(mixture, started):
    model, loaded = started
    assert model.class_names == mixture.class_names and len(mixture.class_names) == 5
    assert model.config.fresh_layers == ("fc6", "fc7", "fc8")
    assert "conv1" in str(loaded)


def test_unseen_emoji_are_retrieved_and_training_emoji_recognised(scores, run_dir):
    for results in (scores.before, scores.after):
        assert tuple(results) == ("L6", "L7", "L6+L7")
        assert all(result.counts["queries"] == 3 for result in results.values())
    assert scores.recognised.counts["examples"] == 3
    assert set(scores.recognised.numbers) >= {"accuracy/single_angle", "accuracy/voting"}
    stored = [read_result(path) for path in (run_dir / emoji_run.RESULTS).glob("*.json")]
    assert len(stored) == 7 and scores.recognised in stored


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
    emoji_run.draw(trained.model, run_dir)
    text = emoji_run.report(mixture, scores, started[1], seconds=61.2, gigabytes=2.5)
    for picture in ("ranked_results", "resizing", "curves"):
        assert (run_dir / f"{picture}.png").exists() and f"({picture}.png)" in text
    assert "took 61 s and at most 2.5 GiB" in text and "5 classes" in text
    (head,) = [line for line in text.splitlines() if "recall@1" in line]
    table = text[text.index(head) :].splitlines()[:4]
    assert len({line.count("|") for line in table}) == 1
    assert f"{scores.after['L6'].numbers['mAP'].value:.3f}" in table[3]
    before = (run_dir / "curves.png").stat().st_mtime_ns
    emoji_run.draw(trained.model, run_dir)
    assert (run_dir / "curves.png").stat().st_mtime_ns == before
