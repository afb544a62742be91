"""A network, wherever it lies: a checkpoint of a run, or a folder of the Hugging Face hub as it is."""

import os
import pathlib

import jax

from dsf_jax.models.model import Model
from dsf_jax.models.vit_port import ported_folder
from dsf_jax.models.weight_files import hugging_face
from dsf_jax.models.words import Words, has_text, read_words
from dsf_jax.training.checkpoints import load_model

SEED = 0  # of the layer of classes, which a folder does not have: its network is one, and so its digest


def open_model(source: str | os.PathLike[str]) -> Model:
    """Reads a network.

    Args:
      source: what `checkpoints.load_model` takes; or a folder with config.json and model.safetensors
        of SigLIP, CLIP or DINOv2, whose layer of classes is random.

    Raises:
      FileNotFoundError: when there is no network.
      ValueError: when it cannot be read.
    """
    if not hugging_face.holds_network(source):
        return load_model(source)
    model, _ = ported_folder(hugging_face.read_folder(pathlib.Path(source)), seed=SEED)
    return jax.device_put(model)


def has_words(source: str | os.PathLike[str], model: Model, layer: str) -> bool:
    """Returns whether `open_words` has what it takes, the package tokenizers apart."""
    if not hugging_face.holds_network(source) or layer != model.backbone.default_feature:
        return False
    folder = hugging_face.read_folder(pathlib.Path(source))
    return has_text(folder)


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
    if not hugging_face.holds_network(source):
        raise ValueError(
            f"{source} is a checkpoint, which has no text tower; for words, name a folder of SigLIP or "
            "CLIP as the Hugging Face hub has it"
        )
    if layer != model.backbone.default_feature:
        raise ValueError(
            f"pictures are compared by {layer!r}, and words lie in the space of "
            f"{model.backbone.default_feature!r}; take that layer"
        )
    return read_words(hugging_face.read_folder(pathlib.Path(source)))
