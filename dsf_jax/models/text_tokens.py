"""Words -> token ids, by the tokenizer of a Hugging Face folder (extra `text`)."""

import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsf_jax.models.weight_files.hugging_face import (
    TOKENIZER,
    TOKENIZER_CONFIG,
    HuggingFaceFolder,
    read_json,
)

# Tokens of a text, where config.json leaves it out.
_LENGTHS = {"siglip": 64, "clip": 77}
_LENGTH = "max_position_embeddings"
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Tokenizer(NamedTuple):
    """A tokenizer with all that its text tower expects.

    Attributes:
      tokenizer: `tokenizers.Tokenizer` of the folder.
      length: number of tokens that each text is cut or padded to: padding is part of what SigLIP learned,
        so it is always complete.
      begin: ids before a text.
      end: id after it.
      pad: id of padding.
      lower: whether text is lower-cased.
      plain: whether punctuation is removed, and space of any kind or number is one blank.
    """

    tokenizer: Any
    length: int
    begin: tuple[int, ...]
    end: int
    pad: int
    lower: bool
    plain: bool

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Tokenizes texts.

        Args:
          texts: b texts; what is longer than `length` tokens is cut, the end token kept.

        Returns:
          [b, length] int32.
        """
        rows = [self._ids(text) for text in texts]
        return np.array(rows, np.int32).reshape(len(rows), self.length)

    def _ids(self, text: str) -> list[int]:
        text = text.lower() if self.lower else text
        if self.plain:
            text = re.sub(r"\s+", " ", text.translate(_NO_PUNCTUATION)).strip()
        own = self.tokenizer.encode(text, add_special_tokens=False).ids
        ids = [*self.begin, *own[: self.length - len(self.begin) - 1], self.end]
        return ids + [self.pad] * (self.length - len(ids))


def read_tokenizer(folder: HuggingFaceFolder) -> Tokenizer:
    """Reads the tokenizer of a folder of SigLIP, SigLIP 2 of a fixed size, or CLIP.

    Args:
      folder: folder that has tokenizer.json and tokenizer_config.json.

    Raises:
      ImportError: where the package tokenizers is not installed.
      FileNotFoundError: when one of the files is missing.
      ValueError: when one is damaged, or for another kind of network.
    """
    kind = folder.config.get("model_type")
    if kind not in _LENGTHS:
        raise ValueError(
            f"{folder.path}: config.json says model_type={kind!r}, and tokenizers are read of siglip and "
            "clip; give a whole SigLIP or CLIP"
        )
    config = read_json(folder.path / TOKENIZER_CONFIG)
    content = read_json(folder.path / TOKENIZER)
    tokenizer = _opened(folder.path / TOKENIZER)

    def id_of(name: str) -> int:
        return _special_id(folder, tokenizer, config, name)

    siglip = kind == "siglip"
    return Tokenizer(
        tokenizer,
        length=folder.section("text_config", {_LENGTH: _LENGTHS[kind]})[_LENGTH],
        begin=() if siglip else (id_of("bos_token"),),
        end=id_of("eos_token"),
        pad=id_of("pad_token"),
        lower=siglip,
        # SigLIP's SentencePiece is a unigram model; SigLIP 2 has Gemma's, which keeps punctuation.
        plain=siglip and content["model"]["type"] == "Unigram",
    )


def _opened(path: Path) -> Any:
    """Opens a tokenizer, without the lengths that it was saved with."""
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError(
            "words are tokenized with the package tokenizers; pip install tokenizers, or install this "
            "package with its extra 'text'"
        ) from error
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the type that the library raises
        raise ValueError(f"{path}: is damaged ({error}); fetch the folder again") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _special_id(
    folder: HuggingFaceFolder, tokenizer: Any, config: dict[str, Any], name: str
) -> int:
    """Looks up a special token, which the configuration names as text or as {"content": text}."""
    own = config.get(name)
    token = own.get("content") if isinstance(own, dict) else own
    number = tokenizer.token_to_id(token) if isinstance(token, str) else None
    if number is None:
        raise ValueError(
            f"{folder.path}: {TOKENIZER_CONFIG} says {name}={token!r}, which {TOKENIZER} does not hold; "
            "fetch the folder again"
        )
    return int(number)
