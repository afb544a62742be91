"""Words -> features in the space of a folder's image tower: its tokenizer and its text tower as one."""

from typing import NamedTuple

import numpy as np

from dsf_jax.models.text_tokens import Tokenizer, read_tokenizer
from dsf_jax.models.text_tower import TEXT, TextEncoder, embed_tokens, read_text_encoder
from dsf_jax.models.weight_files.hugging_face import (
    TOKENIZER,
    TOKENIZER_CONFIG,
    HuggingFaceFolder,
)


class Words(NamedTuple):
    """What embeds words.

    Attributes:
      encoder: text tower.
      tokenizer: tokenizer of the same folder.
    """

    encoder: TextEncoder
    tokenizer: Tokenizer

    def embed(self, text: str) -> np.ndarray:
        """Embeds a text.

        Args:
          text: words; what the text tower has no room for is cut.

        Returns:
          [1, d] float32 of length 1, to be compared with the default features of the image tower.

        Raises:
          ValueError: for a text without any word, or of which the tokenizer leaves nothing.
        """
        ids, nothing = self.tokenizer([text, ""])  # [length] each
        if not text.strip() or np.array_equal(ids, nothing):
            raise ValueError("the words are empty, or punctuation alone; name what you look for")
        return np.asarray(embed_tokens(self.encoder, ids[None]))


def has_text(folder: HuggingFaceFolder) -> bool:
    """Returns whether a folder has a text tower and a tokenizer."""
    towered = any(name.startswith(TEXT) for name in folder.tensors)
    return towered and all((folder.path / name).is_file() for name in (TOKENIZER, TOKENIZER_CONFIG))


def read_words(folder: HuggingFaceFolder) -> Words:
    """Reads the text side of a folder of SigLIP, SigLIP 2 of a fixed size, or CLIP.

    Raises:
      ImportError: where the package tokenizers is not installed.
      FileNotFoundError: when the folder has no tokenizer.
      ValueError: for another kind of network, or a damaged folder.
    """
    tokenizer = read_tokenizer(folder)
    return Words(read_text_encoder(folder), tokenizer)
