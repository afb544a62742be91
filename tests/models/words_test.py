"""Words of a folder: its own tokenizer before its own text tower."""

import numpy as np
import pytest

from dsf_jax.models.text_tokens import read_tokenizer
from dsf_jax.models.text_tower import embed_tokens, read_text_encoder
from dsf_jax.models.weight_files.hugging_face import read_folder
from dsf_jax.models.words import has_text, read_words
from tests.models.hugging_face_folders import WIDTH, speaking_folder, write_folder


def test_tokens_go_through_the_tower(tmp_path):
    folder = read_folder(speaking_folder(tmp_path / "siglip", "siglip"))
    words = read_words(folder)
    features = words.embed("A hat, a cat")
    assert features.shape == (1, WIDTH) and np.linalg.norm(features) == pytest.approx(1, rel=1e-5)
    ids = read_tokenizer(folder)(["A hat, a cat"])
    np.testing.assert_array_equal(features, embed_tokens(read_text_encoder(folder), ids))
    assert np.any(words.embed("a cat") != features)


@pytest.mark.parametrize("text", ["", " ", "?!", " . ", "\n", "--"])
def test_a_text_of_which_the_tower_sees_nothing_is_refused(tmp_path, text):
    words = read_words(read_folder(speaking_folder(tmp_path / "siglip", "siglip")))
    with pytest.raises(ValueError, match=r"the words are empty.*; name what you look for"):
        words.embed(text)


def test_which_folders_have_words(tmp_path):
    assert not has_text(read_folder(write_folder(tmp_path / "siglip", "siglip")))  # no tokenizer
    assert not has_text(read_folder(write_folder(tmp_path / "dinov2", "dinov2")))
    assert has_text(read_folder(speaking_folder(tmp_path / "clip", "clip")))
