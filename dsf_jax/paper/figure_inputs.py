"""What the paper's figures are made from, and what one is: a checkpoint, prepared data, a choice of
examples -> a figure with its facts.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from dsf_jax.data.batches import collate, content
from dsf_jax.data.class_maps import ClassMap
from dsf_jax.data.datasets import all_classes
from dsf_jax.data.mixtures import Examples, Mixture
from dsf_jax.data.records import Records
from dsf_jax.evaluation.extractors import NamedModel
from dsf_jax.insight.plots import png_bytes
from dsf_jax.insight.report import Section

LISTED = 30  # classes that an error names


class PaperFigure(NamedTuple):
    """One figure of the paper, made for a checkpoint, with what was measured.

    Attributes:
      title: short title.
      text: paragraph that explains what it shows.
      figure: the figure itself.
      facts: {name: value}, JSON; what was measured over all examples.
      rows: {column: value} each, JSON; what was measured one by one.
    """

    title: str
    text: str
    figure: Figure
    facts: dict[str, Any]
    rows: list[dict[str, Any]]

    def section(self) -> Section:
        """Returns the figure as a section of a report."""
        return Section(self.title, self.text, png_bytes(self.figure), self.facts, self.rows)

    def numbers(self) -> dict[str, Any]:
        """Returns all that was measured, JSON."""
        return self.facts | {"rows": self.rows}


@dataclasses.dataclass(frozen=True)
class FigureInputs:
    """What figures are made from.

    Attributes:
      network: the checkpoint.
      sketches: data sets of drawings.
      photos: data sets of photos.
      before: the checkpoint that fine-tuning started from, if it is to be compared with.
      class_map: synonyms, see `mix`.
      classes: classes to show, in order; none for any.
      seed: seed of what is chosen.
    """

    network: NamedModel
    sketches: Sequence[Records]
    photos: Sequence[Records]
    before: NamedModel | None = None
    class_map: ClassMap | None = None
    classes: Sequence[str] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError where the two networks cannot be compared."""
        if self.before is None:
            return
        after, before = (
            f"{n.model.config.backbone} at {n.model.size} x {n.model.size}"
            for n in (self.network, self.before)
        )
        if before != after:
            raise ValueError(
                f"{self.before.name} is {before}, {self.network.name} is {after}; name the checkpoint "
                "that the training started from"
            )

    @functools.cached_property
    def mixture(self) -> Mixture:
        """All drawings and photos, as the network is shown them."""
        sets = [*self.sketches, *self.photos]
        return self.network.mixture(sets, all_classes(sets, self.class_map), self.class_map)

    def plain(self, examples: Examples, rows: Sequence[int]) -> np.ndarray:
        """Returns the plain view of some examples, [n, size, size] or [n, size, size, 3] uint8."""
        batch = content(collate([examples[int(i)] for i in rows]))
        return np.asarray(self.network.model.plain_view(batch))

    def chosen(self, examples: Examples, kind: str, count: int) -> list[int]:
        """Chooses examples at random: one of each class asked for, or else of `count` classes."""
        labels, names = examples.labels, self.mixture.class_names
        check_classes(self.classes, names, {kind: [names[k] for k in np.unique(labels)]})
        return choose([names[k] for k in labels.tolist()], self.classes, count, self.seed)

    def pairs(self, count: int) -> list[tuple[int, int]]:
        """Pairs drawings and photos of one class at random, each at most once; a pair of each class
        asked for comes first.
        """
        mixture, rng = self.mixture, np.random.default_rng(self.seed)
        names = mixture.class_names
        kinds = {"sketch": mixture.drawings.labels, "photo": mixture.photos.labels}
        shown = {kind: [names[k] for k in np.unique(own)] for kind, own in kinds.items()}
        check_classes(self.classes, names, shown)
        by_class = {
            names[k]: list(
                zip(
                    *(rng.permutation(np.flatnonzero(own == k)).tolist() for own in kinds.values()),
                    strict=False,
                )
            )
            for k in np.intersect1d(kinds["sketch"], kinds["photo"]).tolist()
        }
        if not by_class:
            sets = ", ".join(r.name for r in [*self.sketches, *self.photos])
            raise ValueError(
                f"no class has both a sketch and a photo in {sets}; choose data sets that share "
                "classes, or map their names to each other"
            )
        asked = [by_class[name][0] for name in dict.fromkeys(self.classes)]
        others = [pair for own in by_class.values() for pair in own if pair not in asked]
        drawn = [others[i] for i in rng.permutation(len(others))]
        return [*asked, *drawn][: max(count, len(asked))]


def check_classes(
    asked: Sequence[str], known: Sequence[str], shown: Mapping[str, Sequence[str]]
) -> None:
    """Raises ValueError for a class asked for that is unknown, or that has no example of a kind."""
    for name in asked:
        if name not in known:
            more = ", ..." if len(known) > LISTED else ""
            raise ValueError(
                f"class {name!r} is unknown; choose of {', '.join(known[:LISTED])}{more}"
            )
        for kind, there in shown.items():
            if name not in there:
                raise ValueError(
                    f"class {name!r} has no {kind} in these data sets; choose another class, or "
                    "data sets and splits that have one"
                )


def choose(names: Sequence[str], classes: Sequence[str], count: int, seed: int) -> list[int]:
    """Chooses examples at random: one of each class in `classes`, or else of `count` classes.

    Args:
      names: [n] classes of the examples.
      classes: classes wanted, in order; none for any.
      count: number of classes, where any will do; fewer where there are not as many.
      seed: seed of the choice.

    Returns:
      Places in `names`.
    """
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    first = {names[i]: i for i in reversed(order)}
    wanted = classes or list(dict.fromkeys(names[i] for i in order))[:count]
    return [first[name] for name in wanted]
