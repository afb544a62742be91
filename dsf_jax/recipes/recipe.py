"""Recipes: which data a network is made of, from which start values, with which settings, and which classes
are held out to measure it.

A recipe is data. What downloads and builds the data sets is data_builders.public_sets; what trains is
`recipes.making`.
"""

import dataclasses
from collections.abc import Mapping

from dsf_jax.data import quickstart
from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.efficientnet_lite import LITE0
from dsf_jax.paper import emoji_run
from dsf_jax.training.config import TrainConfig

# Images per second, to tell hours by: AlexNet on two CPU cores, and what one host reads for an accelerator
# (docs/experiments.md, "What made it faster" and "Reading and preparing").
CPU_RATE, READING_RATE = 25.0, 2300.0


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is made.

    Attributes:
      name: its name.
      purpose: what the network is for.
      datasets: prepared data sets to train on, NAME or NAME:SPLIT; "train" unless they say another.
      mixture: a name of `MIXTURES`.
      sketches: prepared data sets of the drawings that it is measured by, "test" unless they say another.
      photos: those of the photos that are found.
      examples: number of training examples, rounded.
      weights: start values, as `start.ported` takes them, or "random"; None where a person gives them.
      backbone: name of the architecture; None for that of the weights, a folder.
      partial: whether the weights lack layers, which start from random values.
      unseen: list of classes that are not trained on, and are measured; None where the test splits are of
        other classes anyway.
      embedding: numbers of an embedding; None for what the loss needs.
      train: settings of the run.
    """

    name: str
    purpose: str
    datasets: tuple[str, ...]
    mixture: str
    sketches: tuple[str, ...]
    photos: tuple[str, ...]
    examples: int
    weights: str | None
    backbone: str | None
    partial: bool = False
    unseen: str | None = None
    embedding: int | None = None
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of all prepared data sets that it takes, each once."""
        every = (*self.datasets, *self.sketches, *self.photos)
        return tuple(dict.fromkeys(text.partition(":")[0] for text in every))

    def shown(self) -> int:
        """Returns the number of examples that training shows, rounded."""
        return self.train.total_steps(self.examples) * self.train.batch_size


_RECIPES = (
    Recipe(
        name="paper",
        purpose="the paper's network: AlexNet, TU-Berlin's sketches and photos of the same classes",
        datasets=("tu_berlin/sketch:fold0+fold1", "hust_si/photo"),
        mixture="S+I",
        sketches=("tu_berlin/sketch:fold2",),
        photos=("hust_si/photo",),
        examples=34_000,
        weights=None,
        backbone=CAFFE.name,
        unseen="tu_berlin-30",
    ),
    Recipe(
        name="general",
        purpose="a network for drawings and photos of anything, also of classes that it never saw",
        datasets=(
            "tu_berlin/sketch:fold0+fold1+fold2",
            "quickdraw/sketch",
            "sketchy/sketch",
            "sketchy/photo",
            "domainnet/sketch",
            "domainnet/quickdraw",
            "domainnet/real",
            "caltech101/photo",
        ),
        mixture="S+I",
        sketches=("sketchy/sketch", "domainnet/sketch"),
        photos=("sketchy/photo", "domainnet/real"),
        examples=650_000,
        weights=LITE0.name,
        backbone=LITE0.name,
        unseen="sketchy-25",
        train=TrainConfig(
            epochs=10,
            loss="cosine",
            schedule="cosine",
            warmup=0.1,
            dropout_rate=0.2,
        ),
    ),
    Recipe(
        name="tiny",
        purpose="a network of emoji, to see each step in minutes",
        datasets=quickstart.DATASETS,
        mixture="S+I+E",
        sketches=(quickstart.SKETCHES,),
        photos=(quickstart.PHOTOS,),
        examples=3_100,
        weights=emoji_run.ALEXNET.source,
        backbone=emoji_run.ALEXNET.backbone,
        partial=emoji_run.ALEXNET.partial,
        train=emoji_run.ALEXNET.config,
    ),
)
RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}
