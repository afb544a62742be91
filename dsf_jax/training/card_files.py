"""What was measured of a network after it was saved: a file beside its checkpoints, which cards are
completed from.
"""

import json
import pathlib
from typing import Any

from dsf_jax.data.files import write_atomic
from dsf_jax.models.model_card import ModelCard, RetrievalScore

FILE = "retrieval.json"  # in a checkpoint folder: {digest of the parameters: what was measured}


def completed(card: ModelCard, folder: pathlib.Path, digest: str) -> ModelCard:
    """Adds what was measured of a network to its card.

    Args:
      card: the card as it was saved with the parameters.
      folder: checkpoint folder.
      digest: digest of the parameters.

    Raises:
      ValueError: when the file is damaged.
    """
    try:
        added = ModelCard.from_json(_read(folder).get(digest, {}))
    except (TypeError, AttributeError, KeyError) as error:
        raise _damaged(folder, error) from error
    card = card._replace(best_feature=card.best_feature or added.best_feature)
    for score in added.retrieval:
        card = card.with_retrieval(score)
    return card


def record(folder: pathlib.Path, digest: str, score: RetrievalScore, card: ModelCard) -> None:
    """Writes how well the network of a checkpoint retrieves; what is there of the same data is replaced.

    Args:
      folder: checkpoint folder.
      digest: digest of the parameters.
      score: what was measured.
      card: the network's, which says what it was trained on.

    Raises:
      OSError: when it cannot be written.
      ValueError: when the file is damaged.
    """
    known = completed(card, folder, digest).with_retrieval(score)
    # The decision is kept: scores that are measured again must not make another one.
    own = {"retrieval": known.retrieval, "best_feature": known.best_feature}
    content = _read(folder) | {digest: own}
    write_atomic(folder / FILE, json.dumps(content, indent=1) + "\n")


def _read(folder: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise _damaged(folder, error) from error
    if not isinstance(content, dict):
        raise _damaged(folder, TypeError("it holds no object"))
    return content


def _damaged(folder: pathlib.Path, error: Exception) -> ValueError:
    return ValueError(
        f"{folder / FILE} is damaged ({error}); remove it, and evaluate the network again"
    )
