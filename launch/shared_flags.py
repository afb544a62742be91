"""Flags that scripts share: those of a configuration's fields, and those of several scripts.

A flag that several scripts have is defined here once, by `define_NAME`: it means the same thing
everywhere, and has one help text.
"""

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Sequence
from typing import Any, TypeVar, cast, get_args

from absl import flags

from dsf_jax.data.unseen import UNSEEN
from dsf_jax.images.views import QueryViews
from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.backbones import BACKBONES, FAMILIES
from dsf_jax.retrieval.near_duplicates import Duplicates

Config = TypeVar("Config")

_DEFINE: dict[type, Any] = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def field_help(config: type[Any]) -> dict[str, str]:
    """Reads what a dataclass's docstring says of each attribute, in its `Attributes:` section."""
    section = _docstring(config).partition("Attributes:")[2]
    entries = re.findall(r"^  (\w+): (.*?)(?=^  \w+: |\Z)", section, re.DOTALL | re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _docstring(config: type[Any]) -> str:
    """Returns a class's docstring; from its source, where Python drops docstrings (-OO)."""
    if sys.flags.optimize < 2:
        return inspect.getdoc(config) or ""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    return ast.get_docstring(cast(ast.ClassDef, node)) or ""


def define_flags(config: type[Any]) -> None:
    """Defines one absl flag per field of a dataclass, the only place of name, default and help."""
    help_of = field_help(config)
    types = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        kind, text = types[field.name], help_of[field.name]
        default: Any = field.default
        if typing.get_origin(kind) is typing.Literal:
            flags.DEFINE_enum(field.name, default, typing.get_args(kind), text)
        else:
            _DEFINE[kind](field.name, default, text)


def config_from_flags(config: type[Config]) -> Config:
    """Builds a dataclass from the flags that `define_flags` made."""
    names = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    return config(**{name: flags.FLAGS[name].value for name in names})


def define_checkpoint(
    default: str | None = None, *, required: bool = True
) -> flags.FlagHolder[str]:
    """Defines --checkpoint, the model that a script uses."""
    text = (
        "Run or checkpoint folder; FOLDER:best, FOLDER:STEP. Or a folder of SigLIP, CLIP or DINOv2 as the "
        "Hugging Face hub has it."
    )
    return cast(
        flags.FlagHolder[str],
        flags.DEFINE_string("checkpoint", default, text, required=required and default is None),
    )


def define_backbone() -> flags.FlagHolder[str | None]:
    """Defines --backbone, the architecture of a network that is made."""
    text = (
        "Architecture of a network that starts from random values or from another's weight file; "
        f"{CAFFE.name} unless the weights say it themselves, as a checkpoint and a folder of the Hugging Face hub do."
    )
    names = [*BACKBONES, *FAMILIES]
    return flags.DEFINE_enum("backbone", None, names, text)


def define_data_dir() -> flags.FlagHolder[str]:
    """Defines --data_dir."""
    return flags.DEFINE_string("data_dir", "data", "Folder of prepared records.")


def define_datasets(*, required: bool = True) -> flags.FlagHolder[list[str]]:
    """Defines --datasets, prepared data sets of any domain."""
    text = "Prepared data sets, each of one domain, as NAME or NAME:SPLIT."
    return cast(
        flags.FlagHolder[list[str]],
        flags.DEFINE_list("datasets", None, text, required=required),
    )


def define_sketches(default: Sequence[str] = ("openmoji/sketch",)) -> flags.FlagHolder[list[str]]:
    """Defines --sketches, prepared data sets of drawings; refused when empty."""
    return _define_sets("sketches", default, "Prepared data sets of sketches, NAME or NAME:SPLIT.")


def define_photo_sets(
    default: Sequence[str] = ("openmoji/photo",),
) -> flags.FlagHolder[list[str]]:
    """Defines --photo_sets, prepared data sets of photos; refused when empty."""
    return _define_sets("photo_sets", default, "Prepared data sets of photos, NAME or NAME:SPLIT.")


def define_split(default: str | None) -> flags.FlagHolder[str]:
    """Defines --split."""
    text = "Split of data sets named without one."
    return cast(flags.FlagHolder[str], flags.DEFINE_string("split", default, text))


def define_class_map() -> flags.FlagHolder[str | None]:
    """Defines --class_map."""
    return flags.DEFINE_string(
        "class_map",
        None,
        'JSON file of synonyms: {"class": {"data set": ["its names of it"]}}, '
        "a data set being what stands before the / of its name: sketchy, edge_maps.",
    )


def define_classes() -> flags.FlagHolder[str | None]:
    """Defines --classes."""
    return flags.DEFINE_string(
        "classes",
        None,
        "File of class names, one per line; records of others are omitted. By default the classes "
        "that the sketches show.",
    )


def define_unseen(text: str) -> flags.FlagHolder[str | None]:
    """Defines --unseen, classes that zero-shot retrieval keeps from training; `text` describes their use."""
    return flags.DEFINE_string(
        "unseen",
        None,
        f"Classes of zero-shot retrieval, {text}: {', '.join(UNSEEN)} (dsf_jax/data/unseen.py has their "
        "sources), or a file of one class per line.",
    )


def define_generalised() -> flags.FlagHolder[bool]:
    """Defines --generalised, which needs --unseen."""
    text = "With --unseen, retrieve among the photos of all classes."
    flag = flags.DEFINE_bool("generalised", False, text)
    flags.register_multi_flags_validator(
        ["generalised", "unseen"],
        lambda values: not values["generalised"] or values["unseen"],
        "--generalised needs --unseen; give it",
    )
    return flag


def define_layer() -> flags.FlagHolder[str | None]:
    """Defines --layer, one feature."""
    return flags.DEFINE_string(
        "layer",
        None,
        "Feature that is compared, L6+L7 or the like; by default the gallery's, or the one that was best on held-out data.",
    )


def define_layers() -> flags.FlagHolder[list[str] | None]:
    """Defines --layers, several features."""
    return flags.DEFINE_list(
        "layers",
        None,
        "Features to compute, L6,L7 or the like; by default those that are compared.",
    )


def define_query_views() -> flags.FlagHolder[QueryViews]:
    """Defines --query_views, what of a drawing a search begins with."""
    text = (
        "Views of what is searched by, whose features are averaged: one, upright; mirrored, that and its "
        "mirror image, for twice the network's time; all, the 18 views of the vote. Pictures that are "
        "searched have one."
    )
    return cast(
        flags.FlagHolder[QueryViews],
        flags.DEFINE_enum("query_views", "one", get_args(QueryViews), text),
    )


def define_duplicates() -> flags.FlagHolder[Duplicates]:
    """Defines --duplicates, how near-duplicates are shown."""
    text = (
        "Near-duplicates, which are one picture resized or saved again: grouped, as one result with their "
        "number; separate, each as a result of its own."
    )
    return cast(
        flags.FlagHolder[Duplicates],
        flags.DEFINE_enum("duplicates", "grouped", get_args(Duplicates), text),
    )


def define_warn_far() -> flags.FlagHolder[bool]:
    """Defines --warn_far, whether answers warn that nothing is near."""
    return flags.DEFINE_boolean(
        "warn_far",
        True,
        "Warns when what was found most likely has nothing to do with the query, by the standard of the "
        "pictures that are searched.",
    )


def define_photos() -> flags.FlagHolder[list[str] | None]:
    """Defines --photos, picture files that are not prepared."""
    return flags.DEFINE_multi_string(
        "photos", None, "Folder of pictures; may be given several times, for several folders."
    )


def define_exclude() -> flags.FlagHolder[list[str]]:
    """Defines --exclude, what of --photos is passed over."""
    return flags.DEFINE_multi_string(
        "exclude",
        [],
        "Files and folders of --photos to pass over: a name as 'raw' or '*_edited.*', or a path as "
        "'2024/raw*'; may be given several times.",
    )


def define_source(text: str, *, required: bool = True) -> flags.FlagHolder[str]:
    """Defines --source, what a script converts; `text` describes the forms that it takes."""
    return cast(
        flags.FlagHolder[str],
        flags.DEFINE_string("source", None, f"What is converted: {text}", required=required),
    )


def define_gallery(*, required: bool = True) -> flags.FlagHolder[str]:
    """Defines --gallery."""
    text = "Folder of a gallery of launch.index, or what LanceDB takes: s3://BUCKET/PATH."
    return cast(
        flags.FlagHolder[str], flags.DEFINE_string("gallery", None, text, required=required)
    )


def define_top() -> flags.FlagHolder[int]:
    """Defines --top."""
    return flags.DEFINE_integer("top", 10, "Number of results per query.", lower_bound=1)


def define_batch_size() -> flags.FlagHolder[int]:
    """Defines --batch_size."""
    return flags.DEFINE_integer(
        "batch_size", 64, "Images that are computed at a time.", lower_bound=1
    )


def define_seed() -> flags.FlagHolder[int]:
    """Defines --seed."""
    return flags.DEFINE_integer("seed", 0, "Seed of everything that is drawn at random.")


def _define_sets(name: str, default: Sequence[str], text: str) -> flags.FlagHolder[list[str]]:
    flag = flags.DEFINE_list(name, list(default) or None, text)
    message = "is empty; name one data set at least, or omit the flag"
    flags.register_validator(name, lambda names: names is None or bool(names), message)
    return cast(flags.FlagHolder[list[str]], flag)
