"""Which data sets a command names: NAME:SPLIT, folds, class lists, class maps."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from dsf_jax.data.class_maps import ClassMap, check_class_map, names_in_mixture
from dsf_jax.data.files import read_text
from dsf_jax.data.mixtures import EDGE_PRESERVING, Mixture, domains_of, mix
from dsf_jax.data.records import DataSet, Records, list_datasets, open_dataset
from dsf_jax.data.unseen import UnseenClasses
from dsf_jax.images.resize import SIZE
from dsf_jax.images.views import Resizing


class DataSetSpec(NamedTuple):
    """How a command names a data set: NAME or NAME:SPLIT."""

    name: str
    split: str | None = None

    @classmethod
    def parse(cls, text: str) -> "DataSetSpec":
        """Reads NAME or NAME:SPLIT.

        >>> DataSetSpec.parse("tu_berlin/sketch:fold0+fold1")
        DataSetSpec(name='tu_berlin/sketch', split='fold0+fold1')
        """
        name, _, split = text.partition(":")
        return cls(name, split or None)

    def open(self, data_dir: str, split: str) -> DataSet:
        """Opens the data set; `split` is that of data sets named without one."""
        return open_dataset(data_dir, self.name, self.split or split)


def open_datasets(
    data_dir: str, datasets: Sequence[str], split: str, domains: Sequence[str]
) -> list[Records]:
    """Opens data sets that must be of certain domains.

    Args:
      data_dir: folder of prepared records.
      datasets: NAME or NAME:SPLIT of each.
      split: split of those that name none.
      domains: domains allowed.

    Returns:
      Their records.

    Raises:
      ValueError: when one is of another domain, or a record is in two of them, or twice in one.
    """
    opened = [DataSetSpec.parse(text).open(data_dir, split).read() for text in datasets]
    check_once(opened)
    for records in opened:
        if records.domain not in domains:
            raise ValueError(
                f"{records.name} is of the domain {records.domain}, not {' or '.join(domains)}; "
                "name another data set"
            )
    return opened


def check_once(sets: Sequence[DataSet]) -> None:
    """Raises ValueError where a record is named twice: it would count twice in a score."""
    parts = [(*part, one) for one in sets for part in one.parts()]
    parts.sort(key=lambda part: part[:3])
    for (file, _, end, one), (next_file, first, _, other) in itertools.pairwise(parts):
        if file == next_file and first < end:
            raise ValueError(
                f"{one.name} [{one.split}] and {other.name} [{other.split}] have records in common, which would "
                "count twice; name each part of a data set once"
            )


def all_classes(sets: Sequence[DataSet], class_map: ClassMap | None) -> list[str]:
    """Returns all classes that data sets have, by the names that a class map gives them, sorted: a photo
    whose class no sketch shows stays in a gallery, and a sketch without photos is counted.
    """
    return sorted({name for one in sets for name in names_in_mixture(one, class_map or {})})


def open_mixture(
    data_dir: str,
    datasets: Sequence[str],
    split: str,
    mixture: str,
    *,
    class_names: Sequence[str] | None = None,
    class_map: ClassMap | None = None,
    unseen: UnseenClasses | None = None,
    resizing: Resizing = EDGE_PRESERVING,
    size: int = SIZE,
) -> Mixture:
    """Opens those of the data sets whose domain the mixture has.

    Args:
      data_dir: folder of prepared records.
      datasets: names, each of one domain; NAME:SPLIT opens another split than the rest.
      split: split of those that name none.
      mixture: a name of `MIXTURES`.
      class_names: see `mix`.
      class_map: see `mix`.
      unseen: classes to omit.
      resizing: see `mix`.
      size: see `mix`.

    Returns:
      The mixture.

    Raises:
      ValueError: when a domain of the mixture has no data set, the map speaks of none of them, or an
        unseen class is unknown.
    """
    wanted = domains_of(mixture)
    opened = [DataSetSpec.parse(text).open(data_dir, split) for text in datasets]
    check_class_map(class_map, opened)
    domains = {data_set.domain for data_set in opened}
    if missing := [domain for domain in wanted if domain not in domains]:
        given = [f"{data_set.name} ({data_set.domain})" for data_set in opened]
        raise ValueError(
            f"mixture {mixture} needs the domain {' and '.join(missing)}; the data sets given are "
            f"{', '.join(given) or 'none'}; add a data set or choose another mixture"
        )
    used = [data_set for data_set in opened if data_set.domain in wanted]
    hidden = unseen.known(all_classes(used, class_map), class_map) if unseen else ()
    mixed = mix(
        used, class_names, class_map=class_map, without=hidden, resizing=resizing, size=size
    )
    not_used = [one for one in opened if one.domain not in wanted]
    return mixed._replace(not_used=tuple(_not_used(one, mixture) for one in not_used))


def _not_used(data_set: DataSet, mixture: str) -> str:
    """Formats a data set that a mixture does not take."""
    return (
        f"{data_set.domain:>6}: none of {len(data_set)} from {data_set.name} [{data_set.split}]; mixture "
        f"{mixture} has no {data_set.domain}"
    )


def open_held_out(
    data_dir: str,
    datasets: Sequence[str],
    split: str,
    *,
    class_names: Sequence[str],
    class_map: ClassMap | None = None,
    resizing: Resizing = EDGE_PRESERVING,
    size: int = SIZE,
) -> Mixture | None:
    """Opens data sets that are scored while training goes on with others; None for none.

    Raises:
      ValueError: when a record is in two of them, or twice in one.
    """
    opened = [DataSetSpec.parse(text).open(data_dir, split) for text in datasets]
    check_once(opened)
    if not opened:
        return None
    return mix(opened, class_names, class_map=class_map, resizing=resizing, size=size)


class Folds(NamedTuple):
    """Data sets to train on, some of which are cut into folds."""

    datasets: tuple[str, ...]  # NAME or NAME:SPLIT
    cut: frozenset[str]  # those that are cut
    number: int

    def hold_out(self, fold: int) -> tuple[list[str], list[str]]:
        """Returns what to train on and what to hold out, as NAME:SPLIT; data sets without folds are
        trained on as they are.
        """
        rest = "+".join(f"fold{i}" for i in range(self.number) if i != fold)
        train = [f"{name}:{rest}" if name in self.cut else name for name in self.datasets]
        return train, [f"{name}:fold{fold}" for name in self.datasets if name in self.cut]


def read_folds(data_dir: str, datasets: Sequence[str]) -> Folds:
    """Finds out how the data sets that have folds are cut; those with a split of their own are not.

    Raises:
      ValueError: when none has folds, or they have different numbers.
    """
    splits = list_datasets(data_dir)
    plain = [name for name in datasets if DataSetSpec.parse(name).split is None]
    numbers = {
        name: sum(split.startswith("fold") for split in splits.get(name, ())) for name in plain
    }
    counts = {*numbers.values()}
    if not counts - {0}:
        raise ValueError(
            f"none of {', '.join(datasets)} is cut into folds and named without a split; train without "
            "folds, or name a data set that has them, as tu_berlin/sketch"
        )
    if len(counts - {0}) > 1:
        raise ValueError(
            f"of {', '.join(datasets)}, those that are cut into folds must be cut into as many as one "
            f"another, and have {', '.join(f'{name} {n}' for name, n in numbers.items() if n)}; name a split of "
            "those that are not to be trained by folds"
        )
    return Folds(tuple(datasets), frozenset(n for n in plain if numbers[n]), max(counts))


def read_class_list(path: str | None) -> list[str] | None:
    """Reads class names, one per line; None for no file."""
    if path is None:
        return None
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not names:
        raise ValueError(f"{path} lists no class; write one name per line")
    return names
