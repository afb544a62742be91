"""ONNX files of every architecture: what onnxruntime computes with them is what the model does."""

import dataclasses
import importlib.util
import json
import sys

import jax
import numpy as np
import pytest

from dsf_jax.export import onnx_file
from dsf_jax.export.onnx_file import write_onnx
from dsf_jax.models.model import ModelConfig, init_model
from dsf_jax.models.vit import architecture_of
from tests.backbones import TINY_CLIP, TOWER

needs_jax2onnx = pytest.mark.skipif(
    importlib.util.find_spec("jax2onnx") is None,
    reason="jax2onnx is not installed: pip install -e .[onnx]",
)
pytestmark = pytest.mark.slow

CLASSES = ("ant", "bee", "cät")


def tower(**changes):
    return architecture_of(dataclasses.replace(TOWER, **changes))


NETWORKS = {
    "caffe": ModelConfig("caffe", CLASSES, 67, ("fc8",)),
    "efficientnet-lite0": ModelConfig("efficientnet-lite0", CLASSES, 32, (), embedding=5),
    "sketch_a_net": ModelConfig("sketch_a_net", CLASSES, 225, ()),
    "clip": TINY_CLIP,
    "siglip": ModelConfig(
        "siglip", CLASSES, 12, (), embedding=5,
        architecture=tower(class_token=False, pre_norm=False, pooling="attention", projection=0),
    ),
    "dinov2": ModelConfig(
        "dinov2", CLASSES, 16, (),
        architecture=tower(layer_scale=True, gated=True, pre_norm=False, projection=0),
    ),
}  # fmt: skip


def random_model(config):
    """No bias is zero, which would hide that it is missing."""
    model, rng = init_model(config, 0), np.random.default_rng(1)

    def shaken(x):
        return x + rng.normal(0, 0.05, x.shape).astype(np.float32) if x.ndim == 1 else x

    return model.replace(params=jax.tree.map(shaken, model.params))


def outputs_of(model, images):
    logits, activations = jax.jit(lambda m, x: m(x))(model, images)
    return model.features(activations, model.default_feature), logits


@needs_jax2onnx
@pytest.mark.parametrize("name", NETWORKS)
def test_a_runtime_computes_what_the_model_does_for_any_number_of_pictures(name, tmp_path):
    import onnxruntime

    model, path = random_model(NETWORKS[name]), tmp_path / "network.onnx"
    write_onnx(path, model)
    assert [one.name for one in tmp_path.iterdir()] == ["network.onnx"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (taken,), size = session.get_inputs(), model.size
    assert (taken.name, taken.type) == ("images", "tensor(uint8)")
    assert taken.shape[1:] == [size, size, 3] and isinstance(taken.shape[0], str)
    images = np.random.default_rng(0).integers(0, 256, (8, size, size, 3)).astype(np.uint8)
    computed = outputs_of(model, images)
    for count in (1, 3, 8):
        found = session.run(["features", "logits"], {"images": images[:count]})
        for ours, theirs in zip(computed, found, strict=True):
            atol = 1e-5 * float(abs(ours).max())
            np.testing.assert_allclose(theirs, ours[:count], atol=atol, rtol=0)
        np.testing.assert_allclose(np.linalg.norm(found[0], axis=1), 1, atol=1e-5)


@needs_jax2onnx
def test_the_file_says_what_it_takes(tmp_path):
    import onnx

    model = random_model(NETWORKS["clip"])
    write_onnx(tmp_path / "clip.onnx", model)
    proto = onnx.load(tmp_path / "clip.onnx")
    onnx.checker.check_model(proto, full_check=True)
    said = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(said["classes"]) == list(model.class_names)
    assert said["fingerprint"] == model.digest() and said["feature"] == "projected"
    assert said["photos"].startswith("resized to 256 x 256") and "12 x 12" in said["photos"]
    assert said["drawings"].startswith("black on white, strokes 3 pixels wide, anti-aliased; in")


@needs_jax2onnx
def test_what_is_not_the_model_is_not_written(tmp_path, monkeypatch):
    import jax2onnx

    model = random_model(NETWORKS["clip"])
    right = jax2onnx.to_onnx

    def wrong(function, *args, **options):
        return right(lambda images: [2 * x for x in function(images)], *args, **options)

    monkeypatch.setattr(jax2onnx, "to_onnx", wrong)
    with pytest.raises(
        ValueError, match=r"computes features of 1 pictures that differ by .* nothing"
    ):
        write_onnx(tmp_path / "clip.onnx", model)
    assert not list(tmp_path.iterdir())


def test_broken_values_are_refused(tmp_path):
    model = init_model(TINY_CLIP, 0)
    broken = model.params | {"head": jax.tree.map(lambda x: x * np.nan, model.params["head"])}
    with pytest.raises(ValueError, match=r"head/\w+ has values that are not finite"):
        write_onnx(tmp_path / "clip.onnx", model.replace(params=broken))
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(ImportError, match=r"run `pip install jax2onnx` or .* extra `onnx`"):
        write_onnx(tmp_path / "clip.onnx", init_model(TINY_CLIP, 0))


def test_more_than_a_file_can_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "LARGEST", 1000)
    with pytest.raises(ValueError, match=r"have \d+ bytes, and an ONNX file holds 1000 at most"):
        write_onnx(tmp_path / "clip.onnx", init_model(TINY_CLIP, 0))
