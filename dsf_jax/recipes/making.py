"""Prepared data sets and a recipe -> a model as a folder that travels, each step once.

A folder keeps what is done: the recipe itself, start values, the run, results, the model. Whoever calls again after
a crash, or a kill, goes on where that was.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from dsf_jax.data.class_maps import PUBLIC_CLASSES, ClassMap, read_class_map, restricted
from dsf_jax.data.datasets import DataSetSpec, open_datasets, open_mixture
from dsf_jax.data.files import read_text, write_atomic
from dsf_jax.data.mixtures import DRAWN
from dsf_jax.data.unseen import UnseenClasses, read_unseen
from dsf_jax.evaluation import evaluate
from dsf_jax.evaluation.cards import retrieval_score
from dsf_jax.evaluation.extractors import NamedModel
from dsf_jax.evaluation.results import ResultRecord
from dsf_jax.evaluation.summary import summary
from dsf_jax.evaluation.zero_shot import ZeroShot
from dsf_jax.models.model import Model, with_classes
from dsf_jax.recipes.recipe import Recipe
from dsf_jax.training import start
from dsf_jax.training.checkpoints import load_model, record_retrieval
from dsf_jax.training.pretrained import check_licence, is_pretrained, save_pretrained

RECIPE, DATA, START, RUN = "recipe.json", "data", "start", "run"
RESULTS, CLASS_MAP, MODEL = "results", "class_map.json", "model"


def begin(folder: pathlib.Path, recipe: Recipe, *, licence: str | None = None) -> None:
    """Begins a folder, or compares one that was begun: what a person gave that cannot be used is said
    before anything is downloaded, and then nothing is written down that the next call would differ from.

    Args:
      folder: folder of all that is made.
      recipe: what is made, its weights named.
      licence: licence of the weights, see `make`.

    Raises:
      OSError: when the start values cannot be read, or something not be written.
      ValueError: for start values that do not fit the recipe, a licence that is not a name; and see `claim`.
    """
    check_licence(licence)
    if (folder / RECIPE).exists():
        claim(folder, recipe)
        return
    model = _ported(recipe)
    claim(folder, recipe)
    if model is not None:
        save_pretrained(folder / START, model)


def claim(folder: pathlib.Path, recipe: Recipe) -> None:
    """Writes down of which recipe a folder is, or compares.

    Raises:
      OSError: when it cannot be written.
      ValueError: when another recipe, or another version of it, was begun there.
    """
    content = json.loads(json.dumps(dataclasses.asdict(recipe)))
    path = folder / RECIPE
    if not path.exists():
        write_atomic(path, json.dumps(content, indent=1) + "\n")
        return
    begun = json.loads(read_text(path))
    for name in content:
        if content[name] != begun.get(name):
            raise ValueError(
                f"{path} was begun with {name}={begun.get(name)!r}, and now it is {content[name]!r}; give "
                "another --out"
            )


def make(
    recipe: Recipe,
    folder: pathlib.Path,
    *,
    licence: str | None = None,
    report: Callable[[str], Any] = print,
) -> pathlib.Path | None:
    """Trains, measures and writes the network of a recipe, as far as that is not done.

    Args:
      recipe: what is made, its weights named.
      folder: folder of all that is made, with the prepared records in `DATA`.
      licence: licence of the weights for the model's card, an SPDX name.
      report: function that is told of each step.

    Returns:
      The folder of the model, for `from_pretrained`; None where a signal stopped training.

    Raises:
      OSError: when something cannot be read or written, or the disk is full.
      ValueError: when the folder is another recipe's, or data and recipe do not fit.
    """
    claim(folder, recipe)
    made = folder / MODEL
    if is_pretrained(made):
        report(f"{made}: there already")
        return made
    unseen = read_unseen(recipe.unseen)
    class_map = class_map_of(recipe, folder)
    if not train(recipe, folder, class_map, unseen, report):
        return None
    report(summary(list(measure(recipe, folder, class_map, unseen).values())))
    save_pretrained(made, load_model(folder / RUN), licence=licence)
    report(f"written to {made}")
    return made


def class_map_of(recipe: Recipe, folder: pathlib.Path) -> ClassMap | None:
    """Returns the map of public sets, as far as the prepared ones have its classes, and writes it down for
    --class_map; None where it says nothing of them.
    """
    sets = [
        DataSetSpec.parse(text).open(str(folder / DATA), split)
        for texts, split in (
            (recipe.datasets, "train"),
            (recipe.sketches + recipe.photos, "test"),
        )
        for text in texts
    ]
    public = read_class_map(str(PUBLIC_CLASSES)) or {}
    names = {data_set.name.partition("/")[0] for data_set in sets}
    if names.isdisjoint(name for own in public.values() for name in own):
        return None
    class_map = restricted(public, sets)
    write_atomic(folder / CLASS_MAP, json.dumps(class_map, indent=1, ensure_ascii=False) + "\n")
    return class_map


def train(
    recipe: Recipe,
    folder: pathlib.Path,
    class_map: ClassMap | None,
    unseen: UnseenClasses | None,
    report: Callable[[str], Any],
) -> bool:
    """Trains from the recipe's start values, or goes on; returns whether the run is finished."""
    config, data_dir = recipe.train, str(folder / DATA)
    init = _start_values(recipe, folder)
    model = start.starting_point(
        init, recipe.backbone, resizing=None, pen=None, loss=config.loss,
        embedding=recipe.embedding, seed=config.seed,
    )  # fmt: skip
    mixture = open_mixture(
        data_dir, recipe.datasets, "train", recipe.mixture,
        class_map=class_map, unseen=unseen, resizing=model.config.resizing, size=model.size,
    )  # fmt: skip
    report(f"{mixture.per_class()}\n{mixture}")
    model = with_classes(model, mixture.class_names, seed=config.seed)
    flags = {
        "data_dir": data_dir, "datasets": list(recipe.datasets), "mixture": recipe.mixture,
        "init": init, "backbone": model.config.backbone, "embedding": recipe.embedding,
    }  # fmt: skip
    command: Mapping[str, Any] = {
        "flags": flags,
        "class_map": class_map,
        "unseen": unseen and unseen._asdict(),
    }
    return start.train_on(config, mixture, model, folder / RUN, command=command).finished


def _start_values(recipe: Recipe, folder: pathlib.Path) -> str:
    """Reads the weights into a folder, once; returns what `start.starting_point` takes."""
    made = folder / START
    if not is_pretrained(made):
        model = _ported(recipe)
        if model is None:
            return start.RANDOM
        save_pretrained(made, model)
    return str(made)


def _ported(recipe: Recipe) -> Model | None:
    """Reads the weights; None where training starts from random values."""
    if recipe.weights is None:
        raise ValueError(f"recipe {recipe.name} needs start values; give --weights")
    if recipe.weights == start.RANDOM:
        return None
    model, _ = start.ported(
        recipe.weights,
        recipe.backbone,
        num_classes=None,
        partial=recipe.partial,
        seed=recipe.train.seed,
    )
    if recipe.train.train_layers not in model.backbone.trainable:
        raise ValueError(
            f"recipe {recipe.name} trains {recipe.train.train_layers}, which {model.backbone.title} does not "
            "have; give other --weights, or another --recipe"
        )
    return model


def measure(
    recipe: Recipe,
    folder: pathlib.Path,
    class_map: ClassMap | None,
    unseen: UnseenClasses | None,
) -> dict[str, ResultRecord]:
    """Finds photos by drawings of classes that were not trained on, among the photos of all classes, and
    writes the result into the run's card.
    """
    sketches, photos = (
        open_datasets(str(folder / DATA), names, "test", domains)
        for names, domains in ((recipe.sketches, DRAWN), (recipe.photos, ("photo",)))
    )
    model = load_model(folder / RUN)
    results = evaluate.retrieval(
        NamedModel(recipe.name, model),
        sketches,
        photos,
        class_map=class_map,
        zero_shot=ZeroShot(unseen, generalised=True) if unseen else None,
        results=folder / RESULTS,
    )
    record_retrieval(folder / RUN, model, retrieval_score(results))
    return results
