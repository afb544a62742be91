"""Recipes name what there is: data sets, lists, settings; what was begun is not gone on with as another one."""

import dataclasses

import pytest

from data_builders.public_sets import PUBLIC_SETS
from data_builders.registry import configurations
from dsf_jax.data.mixtures import MIXTURES
from dsf_jax.data.unseen import UNSEEN
from dsf_jax.models.backbones import BACKBONES
from dsf_jax.recipes.making import RECIPE, START, begin, claim
from dsf_jax.recipes.recipe import RECIPES
from dsf_jax.training.pretrained import is_pretrained
from tests.models.hugging_face_folders import write_folder


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_what_there_is(name):
    recipe = RECIPES[name]
    assert recipe.name == name and recipe.mixture in MIXTURES and recipe.backbone in BACKBONES
    assert recipe.unseen is None or recipe.unseen in UNSEEN
    for text in recipe.needed:
        own, configuration = text.split("/")
        assert own in PUBLIC_SETS and configuration in configurations(own)
    assert recipe.shown() >= recipe.train.batch_size


def test_a_folder_is_of_one_recipe(tmp_path):
    recipe = RECIPES["general"]
    for _ in range(2):
        claim(tmp_path, recipe)
    with pytest.raises(
        ValueError, match=r"begun with weights='efficientnet-lite0', and now .*--out"
    ):
        claim(tmp_path, dataclasses.replace(recipe, weights="other"))
    assert (tmp_path / RECIPE).is_file()


def with_weights(name, weights):
    return dataclasses.replace(RECIPES[name], weights=str(weights), backbone=None, partial=False)


@pytest.fixture
def clip(tmp_path):
    return write_folder(tmp_path / "clip", "clip")


@pytest.mark.parametrize(
    ("name", "weights", "licence", "error", "message"),
    [
        ("paper", "none.npz", None, FileNotFoundError, "no such weight file"),
        ("paper", "damaged.npz", None, ValueError, "not a usable"),
        pytest.param(
            "tiny", "clip", None, ValueError, "trains fc, which CLIP's .*; give other --weights",
            marks=pytest.mark.slow,
        ),
        ("general", "clip", "CC BY", ValueError, "licence='CC BY' is no SPDX name"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_at_once_and_not_written_down(
    name, weights, licence, error, message, clip, tmp_path
):
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(error, match=message):
        begin(tmp_path / "out", with_weights(name, tmp_path / weights), licence=licence)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_weights_are_read_before_anything_else_and_once(clip, tmp_path):
    recipe = with_weights("general", clip)
    begin(tmp_path / "out", recipe, licence="cc-by-4.0")
    assert is_pretrained(tmp_path / "out" / START)
    (clip / "config.json").unlink()
    begin(tmp_path / "out", recipe)
