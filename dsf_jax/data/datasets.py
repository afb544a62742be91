"""Which data sets a command means: NAME:SPLIT, folds, class lists, class maps."""

import json
import pathlib
from collections.abc import Sequence

from dsf_jax.data.mixtures import (
    EDGE_PRESERVING,
    ClassMap,
    Mixture,
    domains_of,
    mix,
    training_fields,
)
from dsf_jax.data.records import list_datasets, open_records
from dsf_jax.images.resize import SIZE
from dsf_jax.images.views import Resizing


def open_mixture(
    data_dir: str,
    datasets: Sequence[str],
    split: str,
    mixture: str,
    *,
    class_names: Sequence[str] | None = None,
    class_map: ClassMap | None = None,
    resizing: Resizing = EDGE_PRESERVING,
    size: int = SIZE,
) -> Mixture:
    """Opens those of the data sets whose domain the mixture has.

    Args:
      data_dir: of prepared records.
      datasets: names, each of one domain; NAME:SPLIT opens another split than the rest.
      split: of those that name none.
      mixture: a name of `MIXTURES`.
      class_names: see `mix`.
      class_map: see `mix`.
      resizing: see `mix`.
      size: see `mix`.

    Returns:
      The mixture.

    Raises:
      ValueError: when a domain of the mixture has no data set.
    """
    wanted = domains_of(mixture)
    parts = _parts(datasets, split)
    domains = [open_records(data_dir, *part, fields=("domain",)).domain for part in parts]
    if missing := [domain for domain in wanted if domain not in domains]:
        given = [f"{name} ({domain})" for (name, _), domain in zip(parts, domains, strict=True)]
        raise ValueError(
            f"mixture {mixture} needs the domain {' and '.join(missing)}; the data sets given are "
            f"{', '.join(given) or 'none'}; add a data set or choose another mixture"
        )
    opened = [
        open_records(data_dir, *part, fields=training_fields(domain))
        for part, domain in zip(parts, domains, strict=True)
    ]
    used = [records for records, domain in zip(opened, domains, strict=True) if domain in wanted]
    unused = [records for records in opened if records not in used]
    mixed = mix(used, class_names, class_map=class_map, resizing=resizing, size=size)
    left_out = tuple(
        f"{r.domain:>6}: none of {len(r)} from {r.name} [{r.split}]; mixture {mixture} has no {r.domain}"
        for r in unused
    )
    return mixed._replace(not_used=left_out)


def _parts(datasets: Sequence[str], split: str) -> list[tuple[str, str]]:
    """NAME or NAME:SPLIT -> name and split."""
    return [(name, own or split) for name, _, own in (spec.partition(":") for spec in datasets)]


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
    """Opens data sets that are scored while training goes on with others; None for none."""
    opened = [
        open_records(data_dir, name, own, fields=training_fields(domain))
        for name, own in _parts(datasets, split)
        for domain in [open_records(data_dir, name, own, fields=("domain",)).domain]
    ]
    if not opened:
        return None
    return mix(opened, class_names, class_map=class_map, resizing=resizing, size=size)


def count_folds(data_dir: str, datasets: Sequence[str]) -> int:
    """Returns how many folds the data sets that have folds are cut into.

    Raises:
      ValueError: when none has folds, or they have different numbers.
    """
    splits = list_datasets(data_dir)
    plain = [name for name in datasets if ":" not in name]
    counts = {sum(split.startswith("fold") for split in splits.get(name, ())) for name in plain}
    if len(counts - {0}) != 1:
        raise ValueError(
            f"of {', '.join(datasets)}, those that are to be trained by folds must be cut into as many "
            f"folds as one another, and named without a split; they have {sorted(counts)}"
        )
    return max(counts)


def with_fold(
    data_dir: str, datasets: Sequence[str], fold: int, folds: int
) -> tuple[list[str], list[str]]:
    """Takes one fold out of the data sets that have folds.

    Args:
      data_dir: of prepared records.
      datasets: NAME or NAME:SPLIT; those with a split, or without folds, stay as they are.
      fold: which one to hold out.
      folds: how many there are.

    Returns:
      What to train on and what to hold out, as NAME:SPLIT.
    """
    splits = list_datasets(data_dir)
    rest = "+".join(f"fold{i}" for i in range(folds) if i != fold)
    cut = [name for name in datasets if ":" not in name and "fold0" in splits.get(name, ())]
    train = [f"{name}:{rest}" if name in cut else name for name in datasets]
    return train, [f"{name}:fold{fold}" for name in cut]


def read_class_list(path: str | None) -> list[str] | None:
    """Reads class names, one a line; None for no file."""
    if path is None:
        return None
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise ValueError(f"{path} lists no class; write one name a line")
    return names


def read_class_map(path: str | None) -> ClassMap | None:
    """Reads synonyms, JSON {class: {data set: [its names]}}; None for no file."""
    if path is None:
        return None
    try:
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        names = [n for sets in content.values() for own in sets.values() for n in own]
        if not all(isinstance(own, list) for sets in content.values() for own in sets.values()):
            raise TypeError
        if not all(isinstance(name, str) for name in names):
            raise TypeError
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f'{path} is no class map; write JSON: {{"class": {{"data set": ["its name"]}}}}'
        ) from error
    return content
