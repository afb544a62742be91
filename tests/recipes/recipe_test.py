"""Recipes name what there is: data sets, lists, settings; what was begun is not gone on with as another one."""

import dataclasses

import pytest

from data_builders.public_sets import PUBLIC_SETS
from data_builders.registry import configurations
from dsf_jax.data.mixtures import MIXTURES
from dsf_jax.data.unseen import UNSEEN
from dsf_jax.models.backbones import BACKBONES
from dsf_jax.recipes.making import RECIPE, claim
from dsf_jax.recipes.recipe import RECIPES


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
