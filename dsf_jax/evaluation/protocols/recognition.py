"""Accuracy of sketch recognition, single angle and voted over 18 views."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from dsf_jax.data.groups import content, evaluation_groups
from dsf_jax.models.alexnet import AlexNet, Params
from dsf_jax.recognition.voting import single_angle, vote

BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True)
class RecognitionResult:
    """Accuracy over one set of examples.

    Attributes:
      single_angle: fraction of examples whose upright view is classified right.
      voting: fraction of examples that the vote of 18 views classifies right.
      examples: how many were classified.
      classes: how many classes there are to choose from.
    """

    single_angle: float
    voting: float
    examples: int
    classes: int


def recognition(
    model: AlexNet, params: Params, examples: Sequence[dict[str, Any]], *, size: int
) -> RecognitionResult:
    """Classifies every example twice, by one view and by vote.

    Args:
      model: the network.
      params: its parameters.
      examples: drawings (or photos), labelled in the network's classes.
      size: h = w of the network's input.

    Returns:
      The accuracies.

    Raises:
      ValueError: when there are no examples.
    """
    if not len(examples):
        raise ValueError("there are no examples to classify; choose a split that has some")
    hits = np.zeros(2)
    with tqdm(total=len(examples), unit="image", desc="recognition") as bar:
        for group in evaluation_groups(examples, min(BATCH_SIZE, len(examples))):
            for i, classify in enumerate((single_angle, vote)):
                guesses = np.argmax(classify(model, params, content(group), size=size), axis=-1)
                hits[i] += ((guesses == group["label"]) * group["weight"]).sum()
            bar.update(int(group["weight"].sum()))
    single, voted = (hits / len(examples)).tolist()
    return RecognitionResult(single, voted, len(examples), model.num_classes)
