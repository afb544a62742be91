"""Words -> token ids, with tokenizers made here; transformers_test.py compares with transformers."""

import json
import sys

import numpy as np
import pytest

from dsf_jax.models.text_tokens import read_tokenizer
from dsf_jax.models.weight_files.hugging_face import read_folder
from tests.models.hugging_face_folders import LENGTH, write_folder

PIECES = ("<pad>", "</s>", "<unk>", "▁a", "▁cat", "s", "▁hat", "▁", "c", "a", "t", "h", ".")
SPECIAL = {"eos_token": "</s>", "pad_token": {"content": "<pad>"}, "bos_token": "<s>"}


def folder_of(path, kind, tokenizer, special=None):
    write_folder(path, kind, extra={"tokenizer_config.json": special or SPECIAL})
    tokenizer.save(str(path / "tokenizer.json"))
    return read_folder(path)


@pytest.fixture(scope="module")
def tokenizers():
    reason = "needs the package tokenizers: pip install tokenizers"
    return pytest.importorskip("tokenizers", reason=reason)


@pytest.fixture
def unigram(tokenizers):
    """SigLIP's kind: pieces of words, the longer the better."""
    pieces = [(piece, -1.0 / len(piece)) for piece in PIECES]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding()
    return tokenizer


def test_siglip(unigram, tmp_path):
    tokenize = read_tokenizer(folder_of(tmp_path / "siglip", "siglip", unigram))
    ids = tokenize(["A  cat's\that.", "", "a " * 20])
    assert ids.shape == (3, LENGTH) and ids.dtype == np.int32
    assert ids[0].tolist() == [
        3,
        4,
        5,
        6,
        1,
        *[0] * 7,
    ]  # lower-cased, no punctuation, to its length
    assert ids[1].tolist() == [1, *[0] * 11]
    assert ids[2].tolist() == [3] * 11 + [1]  # cut, the end token kept
    assert tokenize([]).shape == (0, LENGTH)


def test_siglip_2_keeps_punctuation(tokenizers, tmp_path):
    vocabulary = {piece: i for i, piece in enumerate(PIECES)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    ids = read_tokenizer(folder_of(tmp_path / "siglip", "siglip", tokenizer))(["Cat a."])
    assert ids[0].tolist() == [8, 9, 10, 7, 9, 12, 1, *[0] * 5]


def test_clip(tokenizers, tmp_path):
    words = {word: i for i, word in enumerate(("<pad>", "<s>", "Cat", "cat", "</s>", "?"))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    ids = read_tokenizer(folder_of(tmp_path / "clip", "clip", tokenizer))(
        ["Cat cat x", "cat " * 20]
    )
    assert ids[0].tolist() == [1, 2, 3, 5, 4, *[0] * 7]  # what its own tokenizer does to case
    assert ids[1].tolist() == [1, *[3] * 10, 4]


def test_special_tokens_that_are_none(unigram, tmp_path):
    folder = folder_of(tmp_path / "siglip", "siglip", unigram, {"eos_token": "<end>"})
    with pytest.raises(
        ValueError, match=r"says eos_token='<end>', which tokenizer\.json does not hold"
    ):
        read_tokenizer(folder)


def test_files_that_are_missing_or_damaged(unigram, tmp_path):
    folder = folder_of(tmp_path / "siglip", "siglip", unigram)
    (folder.path / "tokenizer.json").write_text(json.dumps({"model": {"type": "x"}}))
    with pytest.raises(ValueError, match=r"tokenizer\.json: is damaged"):
        read_tokenizer(folder)
    (folder.path / "tokenizer_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"tokenizer_config\.json: there is no such file"):
        read_tokenizer(folder)


def test_networks_without_words(tmp_path):
    folder = read_folder(write_folder(tmp_path / "folder", "dinov2"))
    with pytest.raises(
        ValueError, match="model_type='dinov2', and tokenizers are read of siglip and"
    ):
        read_tokenizer(folder)


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    files = {"tokenizer_config.json": SPECIAL, "tokenizer.json": {}}
    folder = read_folder(write_folder(tmp_path / "folder", "clip", extra=files))
    with pytest.raises(ImportError, match=r"pip install tokenizers, or .* extra 'text'"):
        read_tokenizer(folder)
