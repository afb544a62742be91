"""Image towers, text towers and token ids beside those of transformers, on random networks of many shapes.

Needs the extra `peers`; vit_port_test.py and text_tower_test.py compare with numbers written down.
"""

import json

import jax
import numpy as np
import pytest

from dsf_jax.models.text_tokens import read_tokenizer
from dsf_jax.models.text_tower import embed_tokens, read_text_encoder
from dsf_jax.models.vit_port import ported_folder
from dsf_jax.models.weight_files.hugging_face import read_folder
from tests.models.hugging_face_folders import CONFIGS, IDS, pixels, write_folder
from tests.models.transformers_values import (
    ENDS,
    IMAGE_VALUES,
    SIZES,
    TEXT_VALUES,
    image_values,
    summary,
    text_folder,
    text_summary,
    text_values,
)

REASON = "needs torch and transformers: pip install -e .[peers]"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SHAPE = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}
TEXT = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
TEXTS = (
    "a photo of a CAT's hat!", "  two   dogs,\t3 birds. ", "", "naïve café – 図", "x" * 300,
    "the cat sat on the mat " * 30,
)  # fmt: skip


def network(kind, patch, image, *, text=TEXT):
    """A random network of transformers, its biases and norms random too."""
    own = SHAPE | {"patch_size": patch, "image_size": image}
    if kind in ("dinov2", "dinov2_gated"):
        config = transformers.Dinov2Config(**own, mlp_ratio=2, use_swiglu_ffn=kind != "dinov2")
        model = transformers.Dinov2Model(config)
    elif kind == "clip":
        towers = {"vision_config": own | {"intermediate_size": 40}, "text_config": text}
        model = transformers.CLIPModel(transformers.CLIPConfig(**towers, projection_dim=12))
    else:
        towers = {"vision_config": own | {"intermediate_size": 40}, "text_config": text}
        model = transformers.SiglipModel(transformers.SiglipConfig(**towers))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            deviation = 0.1 if parameter.ndim > 1 else 0.2
            parameter += deviation * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def assert_equal(found, expected, what):
    difference = np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected)
    assert difference < 1e-4, (what, difference)


def compare(folder, size):
    model, _ = ported_folder(read_folder(folder), seed=0)
    activations = jax.jit(model.apply)(pixels(size))[1]
    for name, expected in image_values(folder, pixels(size)).items():
        assert_equal(np.reshape(activations[name], expected.shape), expected, name)


@pytest.mark.parametrize("kind", list(CONFIGS))
@pytest.mark.parametrize(
    ("patch", "image", "size"),
    [
        (14, 56, (56, 56)), (14, 518, (224, 224)), (16, 64, (96, 80)), (32, 96, (128, 128)),
        (14, 70, (75, 61)),
    ],
)  # fmt: skip
def test_image_towers(kind, patch, image, size, tmp_path):
    network(kind, patch, image).save_pretrained(tmp_path)
    compare(tmp_path, size)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_several_files_of_half_precision(dtype, tmp_path):
    model = network("siglip", 16, 64).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    compare(tmp_path, (80, 80))


def test_image_towers_alone(tmp_path):
    own = SHAPE | {"patch_size": 16, "image_size": 64}
    for name in ("CLIPVisionModelWithProjection", "CLIPVisionModel", "SiglipVisionModel"):
        folder = tmp_path / name
        kind = getattr(transformers, name)
        kind(kind.config_class(**own)).save_pretrained(folder)
        model, _ = ported_folder(read_folder(folder), seed=0)
        with torch.no_grad():
            inputs = torch.tensor(pixels((64, 64))).permute(0, 3, 1, 2)
            out = kind.from_pretrained(folder).eval()(inputs)
        embeds = getattr(out, "image_embeds", None)
        expected = (out.pooler_output if embeds is None else embeds).numpy()
        activations = jax.jit(model.apply)(pixels((64, 64)))[1]
        assert_equal(activations["pooled" if embeds is None else "projected"], expected, name)


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_the_values_that_are_written_down(kind, tmp_path):
    folder = write_folder(tmp_path / kind, kind)
    for size in SIZES:
        for layer, value in image_values(folder, pixels(size)).items():
            expected = IMAGE_VALUES[kind, size, layer]
            np.testing.assert_allclose(summary(value), expected, rtol=1e-4, atol=1e-5)


def test_the_values_of_texts_that_are_written_down(tmp_path):
    values = {"siglip": text_values(write_folder(tmp_path / "siglip", "siglip"), IDS)}
    for end in ENDS:
        folder = text_folder(tmp_path / f"clip{end}", end)
        values[f"clip, end {end}"] = text_values(folder, IDS)
    for name, value in values.items():
        np.testing.assert_allclose(text_summary(value), TEXT_VALUES[name], rtol=1e-4, atol=1e-5)


def compare_words(folder, tokenizer, length):
    """Compares token ids and features of texts."""
    ids = read_tokenizer(read_folder(folder))(TEXTS)
    options = {"padding": "max_length", "max_length": length, "truncation": True}
    expected = tokenizer(list(TEXTS), **options, return_tensors="np").input_ids
    np.testing.assert_array_equal(ids, expected)
    features = embed_tokens(read_text_encoder(read_folder(folder)), ids)
    assert_equal(features, text_values(folder, expected), "text features")


@pytest.mark.parametrize("wrong_end", [False, True])
def test_words_of_clip(wrong_end, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    usual = transformers.CLIPTokenizer().backend_tokenizer
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    trained.normalizer, trained.pre_tokenizer = usual.normalizer, usual.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|startoftext|>", "<|endoftext|>"],
        end_of_word_suffix="</w>", show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    trained.train_from_iterator(
        ["a photo of a cat", "two dogs", "the bird sat on the hat"], trainer
    )
    learned = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    # The end token gets the largest id, as OpenAI's has.
    words = {w: i for i, w in enumerate(w for w in learned["vocab"] if w != "<|endoftext|>")}
    words["<|endoftext|>"] = len(words)
    tokenizer = transformers.CLIPTokenizer(vocab=words, merges=merges)
    end = 2 if wrong_end else tokenizer.eos_token_id
    text = TEXT | {"vocab_size": len(tokenizer), "eos_token_id": end}
    network("clip", 16, 32, text=text).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    compare_words(tmp_path, tokenizer, 77)


def test_words_of_siglip(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece", reason=REASON)
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    corpus = ["a photo of a cat", "two dogs", "the bird sat on the hat", "three trees by a lake"]
    (tmp_path / "corpus.txt").write_text("\n".join(corpus * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus.txt"), model_prefix=str(tmp_path / "spiece"), vocab_size=30,
        model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=3,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(str(tmp_path / "spiece.model"))
    scores = [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(len(pieces))]
    fast = Tokenizer(models.Unigram(scores, unk_id=2))
    fast.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    fast.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = transformers.SiglipTokenizer(str(tmp_path / "spiece.model"))
    network(
        "siglip", 16, 32, text=TEXT | {"vocab_size": 30, "projection_size": 12}
    ).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    fast.save(str(tmp_path / "tokenizer.json"))
    compare_words(tmp_path, tokenizer, 64)


def test_words_of_siglip_2(tmp_path):
    words = {w: i for i, w in enumerate(("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"))}
    for word in (*(f"<0x{i:02X}>" for i in range(256)), *"abcdefghijklmnopqrstuvwxyz▁.,!'"):
        words.setdefault(word, len(words))
    merges = [("a", "▁"), ("o", "f"), ("t", "h"), ("c", "a"), ("ca", "t")]
    for merge in merges:
        words.setdefault("".join(merge), len(words))
    tokenizer = transformers.Siglip2Tokenizer(
        vocab=words, merges=merges, add_bos_token=False, add_eos_token=True, padding_side="right"
    )
    network("siglip", 16, 32, text=TEXT | {"vocab_size": len(words)}).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    compare_words(tmp_path, tokenizer, 64)
