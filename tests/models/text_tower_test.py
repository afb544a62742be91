"""Text towers of tiny folders: equal to what transformers computes of them."""

import numpy as np
import pytest

from dsf_jax.models.text_tower import embed_tokens, read_text_encoder
from dsf_jax.models.weight_files.hugging_face import read_folder
from tests.models.hugging_face_folders import IDS, LENGTH, tensors_of, write_folder
from tests.models.transformers_values import ENDS, TEXT_VALUES, text_folder, text_summary


def encoder_of(folder):
    return read_text_encoder(read_folder(folder))


def assert_as_transformers(features, name):
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(text_summary(features), TEXT_VALUES[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_siglip(tmp_path):
    encoder = encoder_of(write_folder(tmp_path / "siglip", "siglip"))
    assert_as_transformers(embed_tokens(encoder, IDS), "siglip")
    with pytest.raises(
        ValueError, match=rf"\[2, 9\], expected \[b, {LENGTH}\]; pad each text to 12"
    ):
        embed_tokens(encoder, IDS[:, :9])  # its padding counts


@pytest.mark.parametrize(
    "end", [pytest.param(end, marks=[pytest.mark.slow] * (end != 2)) for end in ENDS]
)
def test_clip(end, tmp_path):
    encoder = encoder_of(text_folder(tmp_path / "clip", end))
    assert encoder.tower.pooling == ("largest" if end == 2 else "end")
    assert_as_transformers(embed_tokens(encoder, IDS), f"clip, end {end}")


@pytest.mark.slow
def test_clips_padding_does_not_count(tmp_path):
    encoder = encoder_of(write_folder(tmp_path / "clip", "clip"))
    short, long = (embed_tokens(encoder, ids) for ids in (IDS[:, :5], IDS))
    np.testing.assert_allclose(short, long, atol=1e-5)


def test_ids_of_another_tokenizer(tmp_path):
    encoder = encoder_of(write_folder(tmp_path / "clip", "clip"))
    with pytest.raises(
        ValueError, match="ids go from 1 to 40, expected 0 to 39; take the tokenizer"
    ):
        embed_tokens(encoder, IDS + (IDS == 39))
    with pytest.raises(ValueError, match=r"token ids are \[2, 13\], expected \[b, 12\]"):
        embed_tokens(encoder, np.ones((2, 13), np.int32))


def test_missing_and_unknown_tensors_are_listed(tmp_path):
    tensors = tensors_of("clip")
    tensors["text_model.more"] = tensors.pop("text_projection.weight")
    folder = write_folder(tmp_path / "folder", "clip", tensors=tensors)
    with pytest.raises(
        ValueError, match=r"text_projection\.weight: missing; \+ text_model\.more \[10"
    ):
        encoder_of(folder)


def test_networks_without_words(tmp_path):
    with pytest.raises(ValueError, match="model_type='dinov2', and text towers are read of siglip"):
        encoder_of(write_folder(tmp_path / "folder", "dinov2"))
