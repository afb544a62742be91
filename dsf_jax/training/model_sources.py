"""A network, wherever it lies: a checkpoint of a run, a folder of `pretrained`, here, on the web or on the
hub, or a folder of the Hugging Face hub as it is.
"""

import functools
import os
import pathlib
from typing import Literal

import jax

from dsf_jax.models.model import Model
from dsf_jax.models.vit_port import ported_folder
from dsf_jax.models.weight_files import hugging_face
from dsf_jax.models.words import Words, has_text, read_words
from dsf_jax.training.checkpoints import load_model
from dsf_jax.training.pretrained import fetch_folder, from_pretrained, is_pretrained

HUB = "hf:"
SEED = 0  # of the layer of classes, which a folder does not have: its network is one, and so its digest


def open_model(source: str | os.PathLike[str]) -> Model:
    """Reads a network.

    Args:
      source: what `checkpoints.load_model` takes; a folder of `pretrained`; a folder with config.json
        and model.safetensors of SigLIP, CLIP or DINOv2, whose layer of classes is random; or where to
        fetch one of these folders from, see `fetched`.

    Raises:
      FileNotFoundError: when there is no network.
      OSError: when it cannot be fetched.
      ValueError: when it cannot be read.
    """
    kind, source = kind_of(source), fetched(source)
    if kind == "checkpoint":
        return load_model(source)
    if kind == "pretrained":
        return from_pretrained(source)
    model, _ = ported_folder(hugging_face.read_folder(pathlib.Path(source)), seed=SEED)
    return jax.device_put(model)


def kind_of(source: str | os.PathLike[str]) -> Literal["checkpoint", "pretrained", "hugging_face"]:
    """Returns what a source of `open_model` is; a checkpoint where it is nothing else."""
    source = fetched(source)
    if is_pretrained(source):
        return "pretrained"
    return "hugging_face" if hugging_face.holds_network(source) else "checkpoint"


def fetched(source: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Fetches a folder that is not here into a cache; returns where it lies.

    Args:
      source: https://HOST/FOLDER#sha256=DIGEST, the address of a folder of `pretrained` with the SHA-256
        of its config.json, which has those of the rest; hf:OWNER/NAME, a folder of the Hugging Face
        hub; or a path, which is returned.

    Raises:
      ImportError: where huggingface_hub is needed and not installed.
      OSError: when it cannot be fetched.
      ValueError: for an address without a digest, or what has another one.
    """
    text = os.fspath(source)
    return _fetched(text) if text.startswith(HUB) or "://" in text else source


@functools.cache  # the hub is asked once a process
def _fetched(source: str) -> pathlib.Path:
    if source.startswith(HUB):
        return hugging_face.fetched(source.removeprefix(HUB))
    address, _, digest = source.partition("#sha256=")
    return fetch_folder(address, digest)


def has_words(source: str | os.PathLike[str], model: Model, layer: str) -> bool:
    """Returns whether `open_words` has what it takes, the package tokenizers apart."""
    if kind_of(source) != "hugging_face" or layer != model.backbone.default_feature:
        return False
    return has_text(hugging_face.read_folder(pathlib.Path(fetched(source))))


def open_words(source: str | os.PathLike[str], model: Model, layer: str) -> Words:
    """Reads what embeds words in the space of a network.

    Args:
      source: what the network was read from.
      model: the network.
      layer: feature that pictures are compared by.

    Raises:
      ImportError: where the package tokenizers is not installed.
      FileNotFoundError: when the folder has no tokenizer.
      ValueError: for a network without a text tower, or features of another space.
    """
    if kind_of(source) != "hugging_face":
        raise ValueError(
            f"{source} is a checkpoint, which has no text tower; for words, name a folder of SigLIP or "
            "CLIP as the Hugging Face hub has it"
        )
    if layer != model.backbone.default_feature:
        raise ValueError(
            f"pictures are compared by {layer!r}, and words lie in the space of "
            f"{model.backbone.default_feature!r}; take that layer"
        )
    return read_words(hugging_face.read_folder(pathlib.Path(fetched(source))))
