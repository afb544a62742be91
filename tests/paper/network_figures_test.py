"""Figures of a network's inside whose start had other layers: an embedding that it lacks, or has no more."""

import numpy as np
import pytest

from dsf_jax.data.mixtures import Mixture
from dsf_jax.evaluation.extractors import NamedModel
from dsf_jax.insight.report import html_report
from dsf_jax.models.model import with_embedding
from dsf_jax.paper import network_figures
from dsf_jax.paper.figure_inputs import FigureInputs
from tests.training import tiny

pytestmark = pytest.mark.slow


class Shown(list):
    """Examples of two classes in turn."""

    labels = np.arange(4) % 2


@pytest.fixture(scope="module")
def mixture():
    rng = np.random.default_rng(0)
    sides = {"drawing": (tiny.SIZE, tiny.SIZE), "photo": (256, 256, 3)}
    drawings, photos = (
        Shown(
            {kind: rng.integers(0, 256, shape).astype(np.uint8), "label": i % 2} for i in range(4)
        )
        for kind, shape in sides.items()
    )
    return Mixture(("ant", "bee"), drawings, photos, ())


@pytest.mark.parametrize("embeds", ["after", "before"])
def test_a_layer_that_one_network_lacks_has_the_others_numbers_alone(embeds, mixture):
    plain = tiny.start_model()
    models = {"after": plain, "before": plain, embeds: with_embedding(plain, 4, seed=0)}
    after, before = (NamedModel(when, models[when]) for when in ("after", "before"))
    inputs = FigureInputs(after, [], [], before=before)
    inputs.__dict__["mixture"] = mixture  # in place of prepared data sets'
    figure = network_figures.activations(inputs, pairs=4)
    columns = {row["layer"]: {*row} - {"layer"} for row in figure.rows}
    assert list(columns) == ["relu1", "relu7", "embedding"]
    measured = {"one class, {}", "two classes, {}", "gap {}"}
    assert columns["embedding"] == {text.format(embeds) for text in measured}
    assert "change of the gap" in columns["relu7"] and columns["relu7"] > columns["embedding"]
    shown = [label.get_text() for label in figure.figure.axes[-1].get_xticklabels()]
    assert shown == list(columns)
    assert "<td>embedding</td>" in html_report("Inside", {}, [figure.section()])
