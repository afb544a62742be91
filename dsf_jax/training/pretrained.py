"""A model as a folder that travels: config.json, model.safetensors, and a README.md that is its card."""

import json
import os
import pathlib
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from dsf_jax.data.downloads import Download, cache_folder, fetch_as
from dsf_jax.data.files import directory_lock, new_folder
from dsf_jax.export.load import file_digest, flat, nested
from dsf_jax.models.model import Model, ModelConfig, init_model
from dsf_jax.models.model_card import ModelCard
from dsf_jax.training.checkpoints import check_space

CONFIG, WEIGHTS, README = "config.json", "model.safetensors", "README.md"
FILES = (CONFIG, WEIGHTS, README)
FORMATS = "dsf_jax model, version "
FORMAT = f"{FORMATS}1"
OWN_MACHINE = ("127.0.0.1", "localhost", "::1")
MAX_CONFIG, MAX_WEIGHTS = 16 << 20, 16 << 30  # bytes that are fetched


def save_pretrained(
    folder: str | os.PathLike[str], model: Model, *, licence: str | None = None
) -> None:
    """Writes a model as a folder that `from_pretrained` reads, of files that need nothing of this package
    to be looked into.

    Args:
      folder: folder that must not exist. It appears under its name when it is complete.
      model: network with its parameters.
      licence: licence of the weights, an SPDX name as "cc-by-4.0"; None where nobody has said.

    Raises:
      FileExistsError: when the folder is there already.
      OSError: when the disk has too little space.
      ValueError: for values that are not finite, or a licence that is not a name.
    """
    check_licence(licence)
    folder = pathlib.Path(folder).absolute()
    check_space(folder.parent, model.params)
    tensors = {name: np.ascontiguousarray(x) for name, x in flat(model.params).items()}
    if bad := [name for name, x in tensors.items() if not np.isfinite(x).all()]:
        raise ValueError(f"{bad[0]} has values that are not finite; take an earlier checkpoint")
    with new_folder(folder) as part:
        save_file(tensors, part / WEIGHTS, {"format": "dsf_jax"})
        content = {
            "format": FORMAT,
            "model": model.config.to_json(),
            "card": model.card._asdict(),
            "licence": licence,
            "sha256": {WEIGHTS: file_digest(part / WEIGHTS)},
        }
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (part / CONFIG).write_text(text + "\n", encoding="utf-8")
        (part / README).write_text(_readme(folder.name, model, licence), encoding="utf-8")


def check_licence(licence: str | None) -> None:
    """Raises ValueError for what is no SPDX name of a licence; None is none."""
    if licence is not None and not re.fullmatch(r"[\w.+-]+", licence):
        raise ValueError(
            f"licence={licence!r} is no SPDX name, as cc-by-4.0 or apache-2.0 is; correct it"
        )


def is_pretrained(folder: str | os.PathLike[str]) -> bool:
    """Returns whether a folder is one of `save_pretrained`, of this version or another."""
    try:
        return str(_config(pathlib.Path(folder)).get("format")).startswith(FORMATS)
    except (OSError, ValueError):
        return False


def from_pretrained(folder: str | os.PathLike[str]) -> Model:
    """Reads a model that `save_pretrained` wrote.

    Raises:
      FileNotFoundError: when one of its files is not there.
      ValueError: for a folder of another kind, or a damaged one.
    """
    folder = pathlib.Path(folder)
    content = _config(folder)
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{folder} is of the format {content.get('format')!r}, expected {FORMAT!r}; update dsf_jax, or "
            "name another folder"
        )
    try:
        return _described(folder, content)
    except (KeyError, TypeError, AttributeError, SafetensorError) as error:
        reason = " ".join(repr(error).split())
        raise ValueError(f"{folder} is damaged ({reason}); fetch the folder again") from error


def _described(folder: pathlib.Path, content: Mapping[str, Any]) -> Model:
    """Reads the model that a folder's configuration describes."""
    digest, wanted = file_digest(folder / WEIGHTS), content["sha256"][WEIGHTS]
    if digest != wanted:
        raise ValueError(
            f"{folder / WEIGHTS} has the SHA-256 {digest}, and {CONFIG} says {wanted}; fetch the folder again"
        )
    config, card = ModelConfig.from_json(content["model"]), ModelCard.from_json(content["card"])
    params = nested(load_file(folder / WEIGHTS))
    _check_shapes(folder, config, params)
    return Model(jax.device_put(params), config, card=card)


def _config(folder: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(
            f"{folder / CONFIG} is damaged ({error}); fetch the folder again"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{folder / CONFIG} is no JSON object; fetch the folder again")
    return content


def _check_shapes(folder: pathlib.Path, config: ModelConfig, params: Mapping[str, Any]) -> None:
    """Raises ValueError for parameters that are not those of the configuration."""
    like = jax.eval_shape(lambda: init_model(config, 0)).params
    wanted, given = (
        {name: (x.shape, np.dtype(x.dtype).name) for name, x in flat(tree).items()}
        for tree in (like, params)
    )
    wrong = sorted(name for name in wanted | given if wanted.get(name) != given.get(name))
    if wrong:
        raise ValueError(
            f"{folder / WEIGHTS}: {wrong[0]} is {given.get(wrong[0])}, expected {wanted.get(wrong[0])}, and "
            f"{len(wrong) - 1} others differ; {CONFIG} belongs to another network"
        )


def _readme(name: str, model: Model, licence: str | None) -> str:
    """Writes the card: metadata as the Hugging Face hub reads it, data, measures, use."""
    return "\n".join(["---", *_metadata(licence), "---", "", *_text(name, model, licence), ""])


def _metadata(licence: str | None) -> Iterator[str]:
    yield "library_name: dsf_jax"
    yield "pipeline_tag: image-feature-extraction"
    yield "tags: [sketch-based-image-retrieval, jax, flax]"
    if licence:
        yield f"license: {licence}"


def _text(name: str, model: Model, licence: str | None) -> Iterator[str]:
    card, config = model.card, model.config
    yield f"# {_plain(name)}"
    yield (
        f"\n{model.backbone.title}, inputs of {model.size} x {model.size}, "
        f"{len(model.class_names)} classes, for finding pictures by drawings. Pictures are searched by "
        f"{model.default_feature}; drawings are resized by {config.resizing}"
        + (f", drawn with a pen {config.pen:g} pixels wide." if config.pen else ".")
    )
    sentence = card.sentence("this network")
    yield f"\n{sentence[0].upper()}{sentence[1:]}.\n"
    yield "```sh\npip install dsf_jax\ndsf search --checkpoint=THIS_FOLDER --sketch=drawing.png --photos=my_photos\n```"
    if card.training_sets:
        yield "\n## Data\n\n| data set | domain | examples |\n|---|---|---|"
        yield from (
            f"| {_plain(s.source)} | {_plain(s.domain)} | {s.examples:,} |"
            for s in card.training_sets
        )
    for score in card.retrieval:
        yield f"\n## Retrieval: {_plain(', '.join(score.sketches))} among {_plain(', '.join(score.photos))}"
        yield f"\n{score.queries:,} drawings of {score.classes:,} classes, {score.gallery:,} photos."
        yield "\n| feature | mAP | P@10 |\n|---|---|---|"
        for own in score.features:
            precision = "" if own.precision_at_10 is None else f"{own.precision_at_10:.3f}"
            yield f"| {_plain(own.feature)} | {own.mean_average_precision:.3f} | {precision} |"
    yield "\n## Licence\n"
    yield licence or "None is stated: ask who made the model."


def _plain(text: str) -> str:
    """Returns a name on one line, without what Markdown would take for its own."""
    return " ".join(re.sub(r"[|<>`]", " ", text).split())


def fetch_folder(address: str, digest: str) -> pathlib.Path:
    """Fetches a folder of `save_pretrained` from the web, once.

    Args:
      address: https://HOST/FOLDER, what its files lie under; http:// of this machine alone.
      digest: SHA-256 of its config.json, which has those of the rest; hexadecimal.

    Returns:
      Where it lies.

    Raises:
      OSError: when it cannot be fetched.
      ValueError: for another kind of address, no digest, or files of another one.
    """
    address, digest = address.rstrip("/"), digest.lower()
    where = urllib.parse.urlsplit(address)
    if where.scheme != "https" and (where.scheme != "http" or where.hostname not in OWN_MACHINE):
        raise ValueError(f"{address} is no https:// address; models are fetched from such alone")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(
            f"{address} needs the SHA-256 of its {CONFIG} behind it, {address}#sha256=64 digits; "
            "ask who made the model"
        )
    models = cache_folder("models")
    folder, part = models / digest, models / f"{digest}.part"
    with directory_lock(models):
        if not folder.exists():
            # What has come of it stays when a connection breaks: the next call goes on from there.
            config = Download(f"{address}/{CONFIG}", sha256=digest, most=MAX_CONFIG)
            fetch_as(config, part / CONFIG)
            sums = _config(part).get("sha256")
            if not isinstance(sums, dict) or set(sums) != {WEIGHTS}:
                raise ValueError(
                    f"{address}/{CONFIG} is of another kind of folder; correct the address"
                )
            weights = Download(f"{address}/{WEIGHTS}", sha256=sums[WEIGHTS], most=MAX_WEIGHTS)
            fetch_as(weights, part / WEIGHTS)
            part.rename(folder)
    return folder
