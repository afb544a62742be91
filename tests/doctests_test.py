"""The examples in docstrings are true: every module that has some is run."""

import doctest
import importlib
import pathlib

import pytest

pytestmark = pytest.mark.slow  # examples make networks and galleries

ROOT = pathlib.Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for top in ("dsf_jax", "data_builders", "launch")
    for path in sorted((ROOT / top).rglob("*.py"))
    if ">>> " in path.read_text()
]
# What a stranger tries first has an example.
SHOWN = {
    "dsf_jax.evaluation.ranking", "dsf_jax.gallery.gallery", "dsf_jax.images.points",
    "dsf_jax.images.resize", "dsf_jax.models.model", "dsf_jax.recognition.voting",
    "dsf_jax.retrieval.euclidean",
}  # fmt: skip


def test_examples_are_found():
    assert set(MODULES) >= SHOWN


@pytest.mark.parametrize("module", MODULES)
def test_examples_are_true(module):
    told = doctest.testmod(importlib.import_module(module))
    assert told.attempted and not told.failed, "its output is above"
