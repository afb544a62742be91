"""Synonyms: what one class is called in each data set."""

import collections
import json
import pathlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from dsf_jax.data.files import read_text

if TYPE_CHECKING:  # names of flags need no TFDS
    from dsf_jax.data.records import DataSet

ClassMap = Mapping[str, Mapping[str, Sequence[str]]]  # {class: {data set: [its names of it]}}
# Public data sets joined by TU-Berlin's names, or by Quick, Draw!'s where it has no such class: every name
# that differs is listed, and a kind without a class of its own stands with what it is a kind of.
PUBLIC_CLASSES = pathlib.Path(__file__).with_name("public_classes.json")


def read_class_map(path: str | None) -> ClassMap | None:
    """Reads synonyms, JSON {class: {data set: [its names]}}; None for no file."""
    if path is None:
        return None
    text = read_text(path)
    try:
        content = json.loads(text)
        names = [n for sets in content.values() for own in sets.values() for n in own]
        if not all(isinstance(own, list) for sets in content.values() for own in sets.values()):
            raise TypeError
        if not all(isinstance(name, str) for name in names):
            raise TypeError
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f'{path} is no class map; write JSON: {{"class": {{"data set": ["its name"]}}}}'
        ) from error
    return cast(ClassMap, content)


def restricted(class_map: ClassMap, data_sets: "Sequence[DataSet]") -> ClassMap:
    """Omits what a map says of classes that these data sets do not have: of parts of them, that is.

    Args:
      class_map: see `mix`.
      data_sets: any; what the map says of others stays.
    """
    known = _known_classes(data_sets)
    kept: dict[str, dict[str, list[str]]] = {}
    for name, sets in class_map.items():
        for set_name, own in sets.items():
            there = [one for one in own if composed(one) in known.get(set_name, {composed(one)})]
            if there:
                kept.setdefault(name, {})[set_name] = there
    return kept


def names_in_mixture(data_set: "DataSet", class_map: ClassMap) -> list[str]:
    """Returns the mixture's name of each of a data set's classes, in its own order; see `mix`."""
    set_name = _set_name(data_set)
    synonyms: dict[str, str] = {}
    for name, sets in class_map.items():
        for own in map(composed, sets.get(set_name, ())):
            if synonyms.setdefault(own, name) != name:
                raise ValueError(
                    f"the class map takes {own!r} of {set_name} for both {synonyms[own]!r} and "
                    f"{name!r}; keep one"
                )
    own_names = map(composed, data_set.class_names)
    return [composed(synonyms.get(own, own)) for own in own_names]


def composed(name: str) -> str:
    """Returns a name in NFC: macOS and some keyboards write an accent as a character of its own."""
    return unicodedata.normalize("NFC", name)


def check_class_map(class_map: ClassMap | None, data_sets: "Sequence[DataSet]") -> None:
    """Refuses a map that speaks of none of the data sets that it was given for.

    Args:
      class_map: see `mix`.
      data_sets: all of them; a mixture may take a part, of which the map need not speak.

    Raises:
      ValueError: when all its data sets are others.
    """
    mapped = {set_name for sets in (class_map or {}).values() for set_name in sets}
    known = {_set_name(data_set): None for data_set in data_sets}
    if class_map and not mapped & known.keys():
        raise ValueError(
            f"the class map names {', '.join(sorted(mapped))}, but the data sets are "
            f"{', '.join(known)}; use their names"
        )


def _set_name(data_set: "DataSet") -> str:
    """Returns a data set's name without its configuration, as class maps have it."""
    return data_set.name.partition("/")[0]


def check_mapped_classes(class_map: ClassMap, data_sets: "Sequence[DataSet]") -> None:
    """Refuses a map that speaks of classes that the data sets do not have.

    Args:
      class_map: see `mix`.
      data_sets: any; what the map says of others is not looked at.

    Raises:
      ValueError: naming the first such class.
    """
    known = _known_classes(data_sets)
    for sets in class_map.values():
        for set_name, own in sets.items():
            wrong = [
                name for name in own if set_name in known and composed(name) not in known[set_name]
            ]
            if wrong:
                raise ValueError(
                    f"the class map names {wrong[0]!r} of {set_name}, which has no such class; correct it"
                )


def _known_classes(data_sets: "Sequence[DataSet]") -> dict[str, set[str]]:
    """Returns {data set: the classes of all its configurations that are given}."""
    known: dict[str, set[str]] = collections.defaultdict(set)
    for data_set in data_sets:
        known[_set_name(data_set)].update(map(composed, data_set.class_names))
    return dict(known)
