r"""Makes a network from public data: downloads, builds, trains, measures, and writes a folder that travels.

python -m launch.make_model --recipe=tiny --out=made/tiny
python -m launch.make_model --recipe=general --out=made/general --dry_run
python -m launch.make_model --recipe=general --out=made/general --sources=sketchy=256x256 \
    --accept_licences=tu_berlin,quickdraw,domainnet,caltech101
python -m launch.make_model --recipe=paper --out=made/paper --weights=bvlc_alexnet.caffemodel \
    --sources=hust_si=photos --accept_licences=tu_berlin

Whatever stops it, the same command goes on where it was. dsf_jax/recipes/recipe.py lists the recipes.
"""

import dataclasses
import pathlib
from collections.abc import Iterator

from absl import flags

from data_builders.public_sets import PublicSet, check_given, check_sources, obtain, public_sets
from dsf_jax.data.files import directory_lock
from dsf_jax.models.weight_files.hugging_face import is_folder
from dsf_jax.recipes import making
from dsf_jax.recipes.recipe import CPU_RATE, READING_RATE, RECIPES, Recipe
from launch import common

_RECIPE = flags.DEFINE_enum(
    "recipe", None, list(RECIPES), "What is made; --dry_run tells of it.", required=True
)
_OUT = flags.DEFINE_string(
    "out", None, "Folder of all that is made; the network lies in OUT/model.", required=True
)
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "Start values in place of the recipe's: a weight file, or a folder of SigLIP, CLIP or DINOv2 as the "
    "Hugging Face hub has it. The recipe paper needs AlexNet's .caffemodel.",
)
_SOURCES = flags.DEFINE_list(
    "sources", [], "SET=PATH of data sets that are here already, or cannot be downloaded."
)
_ACCEPTED = flags.DEFINE_list(
    "accept_licences", [], "Data sets whose licence, which --dry_run shows, is accepted."
)
_MIRROR = flags.DEFINE_string(
    "mirror",
    "",
    "Address of a server that has the public files under MIRROR/HOST/PATH, as wget --mirror saves them.",
)
_LICENCE = flags.DEFINE_string(
    "licence", None, "Licence of the network's weights for its card, cc-by-4.0 or the like."
)
_WORKERS = flags.DEFINE_integer(
    "workers", None, "Processes that build; by default one per core.", lower_bound=1
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Only print what would be downloaded and how long it would take."
)


def main() -> None:
    """Makes what the flags name, as far as it is not there."""
    recipe = _recipe()
    sets = public_sets(recipe.needed)
    sources = _sources()
    if _DRY_RUN.value:
        check_given(sets, sources, _ACCEPTED.value)
        print("\n".join(_plan(recipe, sets, sources)))
        return
    check_sources(sets, sources, _ACCEPTED.value)
    if recipe.weights is None:
        raise ValueError(f"--recipe={recipe.name} needs start values; give --weights=FILE")
    out = pathlib.Path(_OUT.value)
    with directory_lock(out):
        making.begin(out, recipe, licence=_LICENCE.value)
        for own in sets:
            wanted = [name for name in recipe.needed if name.startswith(f"{own.name}/")]
            obtain(
                own, out / making.DATA, wanted,
                source=sources.get(own.name), mirror=_MIRROR.value, processes=_WORKERS.value,
            )  # fmt: skip
        made = making.make(recipe, out, licence=_LICENCE.value)
    if made is None:
        print("stopped by a signal; run the same command to go on")


def _recipe() -> Recipe:
    """Returns the recipe, with the start values that the flags give."""
    recipe = RECIPES[_RECIPE.value]
    if _WEIGHTS.value is None:
        return recipe
    backbone = None if is_folder(_WEIGHTS.value) else recipe.backbone
    return dataclasses.replace(recipe, weights=_WEIGHTS.value, backbone=backbone, partial=False)


def _sources() -> dict[str, str]:
    """Reads --sources."""
    pairs = [text.partition("=") for text in _SOURCES.value]
    if wrong := [name for name, _, path in pairs if not path]:
        raise ValueError(f"--sources={wrong[0]} is not of the form SET=PATH; correct it")
    return {name: path for name, _, path in pairs}


def _plan(recipe: Recipe, sets: list[PublicSet], sources: dict[str, str]) -> Iterator[str]:
    """Formats what a recipe takes."""
    yield f"{recipe.name}: {recipe.purpose}"
    yield f"start values: {recipe.weights or 'none; give --weights'}"
    for own in sets:
        if own.name in sources:
            origin = f"from {sources[own.name]}"
        elif own.files:
            origin = f"{own.gigabytes:g} GB to download in {len(own.files)} files"
        else:
            origin = own.origin if own.packaged else f"to give by --sources; {own.origin}"
        yield f"data: {own.name}, {origin}. Licence: {own.licence}"
    total = sum(own.gigabytes for own in sets if own.name not in sources)
    yield f"disk: {total:.1f} GB of downloads, and about as much again for the records of all data sets"
    held_out = recipe.unseen or "the classes of the test split"
    yield f"held out and measured: {held_out}, {', '.join(recipe.sketches)} among {', '.join(recipe.photos)}"
    shown = recipe.shown()
    yield (
        f"training: some {shown:,} images, {shown / CPU_RATE / 3600:.1f} hours on two CPU cores, at least "
        f"{shown / READING_RATE / 3600:.1f} with an accelerator"
    )


if __name__ == "__main__":
    common.run(main)
