"""Folders of tiny vision transformers, read into models: equal to what transformers computes of them."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest
from jax import numpy as jnp

from dsf_jax.models.vit import architecture_of, vit_backbone
from dsf_jax.models.vit_port import image_tower, ported_folder
from dsf_jax.models.weight_files.hugging_face import read_folder
from tests.models.hugging_face_folders import (
    CONFIGS,
    DEPTH,
    SHAPE,
    SIZE,
    pixels,
    tensors_of,
    write_folder,
)
from tests.models.transformers_values import IMAGE_VALUES, SIZES, summary

VISION = "vision_model."


def model_of(folder):
    return ported_folder(read_folder(folder), seed=0)[0]


@jax.jit
def run(model, inputs):
    return model.apply(inputs)[1]


# The gated DINOv2 has all that the plain one has but its perceptron.
@pytest.fixture(
    scope="module",
    params=[pytest.param(k, marks=[pytest.mark.slow] * (k == "dinov2")) for k in CONFIGS],
)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind, tmp_path_factory):
    return model_of(write_folder(tmp_path_factory.mktemp("folders") / kind, kind))


@pytest.mark.slow
@pytest.mark.parametrize("size", [pytest.param(SIZES[0], marks=pytest.mark.slow), SIZES[1]])
def test_it_computes_what_transformers_does(kind, model, size):
    activations = run(model, pixels(size))
    expected = {layer: x for (k, s, layer), x in IMAGE_VALUES.items() if (k, s) == (kind, size)}
    assert {"pooled", *(f"block{i + 1}" for i in range(DEPTH))} < set(expected)
    for layer, values in expected.items():
        found = summary(activations[layer])
        np.testing.assert_allclose(found, values, rtol=1e-4, atol=2e-5, err_msg=layer)


def test_what_its_backbone_names_is_there(model):
    backbone, shapes = model.backbone, model.activation_shapes()
    assert set(model.params) == set(backbone.layers)
    named = {name for feature in backbone.features.values() for name in feature.activations}
    starts = {choice.start for choice in backbone.trainable.values()} - {"input"}
    assert named | starts | {*backbone.maps, *backbone.measured, *backbone.inverted} <= set(shapes)
    assert {len(shapes[name]) for name in (*backbone.maps, backbone.explained)} == {3}
    assert {*backbone.compared_features} <= set(backbone.features)
    assert set(backbone.trainable) == {"all", "norms", "head"}
    assert backbone.classifier == "head" and model.config.fresh_layers == ("head",)


def test_its_default_feature_and_size(kind, model):
    expected = {"siglip": "pooled", "clip": "projected"}.get(kind, "class token")
    assert model.default_feature == expected and model.size == SIZE
    assert model.config.backbone == kind.removesuffix("_gated")
    assert model.class_names == ("",)


@pytest.mark.parametrize(
    "dtype", [np.float16, pytest.param(ml_dtypes.bfloat16, marks=pytest.mark.slow)]
)
def test_files_of_half_precision(dtype, tmp_path):
    params = model_of(write_folder(tmp_path / "half", "clip", dtype=dtype)).params
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    tensor = tensors_of("clip")[f"{VISION}encoder.layers.1.mlp.fc1.weight"]
    found = params["block2_up"]["kernel"].T
    np.testing.assert_array_equal(found, tensor.astype(dtype).astype(np.float32))


def test_an_image_tower_alone(tmp_path):
    tensors = {
        name.removeprefix(VISION): x
        for name, x in tensors_of("siglip").items()
        if name.startswith(VISION)
    }
    config = CONFIGS["siglip"]["vision_config"] | {"model_type": "siglip_vision_model"}
    alone = model_of(write_folder(tmp_path / "alone", "siglip", tensors=tensors, config=config))
    expected = tensors["head.attention.in_proj_weight"][16:32].T
    np.testing.assert_array_equal(alone.params["pool_key"]["kernel"], expected)


def test_clip_without_a_projection(tmp_path):
    tensors = {n: x for n, x in tensors_of("clip").items() if n.startswith(VISION)}
    config = CONFIGS["clip"]["vision_config"] | {"model_type": "clip_vision_model"}
    write_folder(tmp_path / "alone", "clip", tensors=tensors)
    (tmp_path / "alone" / "config.json").write_text(json.dumps(config))
    model = model_of(tmp_path / "alone")
    assert model.default_feature == "class token" and "projection" not in model.params


def test_an_image_classifier_of_dinov2(tmp_path):
    tensors = {f"dinov2.{name}": x for name, x in tensors_of("dinov2").items()}
    tensors["classifier.weight"] = np.zeros((7, 32), np.float32)
    params = model_of(write_folder(tmp_path / "classifier", "dinov2", tensors=tensors)).params
    expected = tensors["dinov2.encoder.layer.1.layer_scale2.lambda1"]
    np.testing.assert_array_equal(params["block2_scale2"]["scale"], expected)
    assert params["head"]["kernel"].shape == (16, 1)


def test_the_report_sums_blocks_up(tmp_path):
    extra = {"preprocessor_config.json": {"crop_size": 32}}
    tensors = tensors_of("clip")  # and a table of numbers, which is not of the weights
    tensors[f"{VISION}embeddings.position_ids"] = np.arange(10.0, dtype=np.float32)[None]
    folder = write_folder(tmp_path / "clip", "clip", extra=extra, tensors=tensors)
    report = str(ported_folder(read_folder(folder), seed=0)[1])
    lines = [" ".join(line.split()) for line in report.splitlines()]
    assert lines[0] == f"{folder} -> clip: 8 of 9 layers loaded"
    assert "block2 loaded from vision_model.encoder.layers.1" in lines
    assert "projection loaded from visual_projection" in lines
    positions = (
        "vision_model.embeddings.position_embedding, of 3 x 3 patches, interpolated for 4 x 4"
    )
    assert f"positions loaded from {positions}" in lines
    assert lines[-1] == "head random: not in the folder"


def test_what_a_configuration_leaves_out_is_what_transformers_takes(tmp_path):
    shape = {k: x for k, x in SHAPE.items() if k != "num_hidden_layers"}
    folder = write_folder(tmp_path / "clip", "clip", config={"vision_config": shape})
    with pytest.raises(ValueError, match=r"layers\.11\.layer_norm1\.bias: missing.*and 140 more"):
        model_of(folder)  # of 12 blocks


def test_missing_and_unknown_tensors_are_listed(tmp_path):
    tensors = tensors_of("dinov2")
    tensors["encoder.layer.0.mlp.fc3.weight"] = tensors.pop("encoder.layer.0.mlp.fc1.weight")
    folder = write_folder(tmp_path / "folder", "dinov2", tensors=tensors)
    with pytest.raises(ValueError, match="does not fit its own configuration") as caught:
        model_of(folder)
    assert "- encoder.layer.0.mlp.fc1.weight: missing" in str(caught.value)
    assert "+ encoder.layer.0.mlp.fc3.weight [32, 16]: unknown" in str(caught.value)


def test_tensors_of_another_shape_are_listed(tmp_path):
    positions = f"{VISION}embeddings.position_embedding.weight"
    tensors = tensors_of("siglip")
    tensors[positions] = tensors[positions][:4]
    folder = write_folder(tmp_path / "folder", "siglip", tensors=tensors)
    with pytest.raises(
        ValueError, match=r"expected \[9, 16\] for positions/embedding, got \[4, 16"
    ):
        model_of(folder)


@pytest.mark.parametrize("shape", [(), (1, 1, 0), (0,)])
@pytest.mark.parametrize("name", ["head.probe", "head.attention.in_proj_bias"])
def test_tensors_without_dimensions_or_values_are_listed(name, shape, tmp_path):
    tensors = tensors_of("siglip") | {f"{VISION}{name}": np.ones(shape, np.float32)}
    folder = write_folder(tmp_path / "folder", "siglip", tensors=tensors)
    with pytest.raises(ValueError, match=rf"-\+ {VISION}{name}: expected .*Fetch the folder again"):
        model_of(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "siglip2"}, "NaFlex.*google/siglip2-base-patch16-224"),
        ({"model_type": "bert"}, "model_type='bert', which is not read; choose one of siglip, "),
        ({"model_type": "dinov2", "num_channels": 1}, "takes 1 channels, and pictures have 3"),
        (
            {"model_type": "dinov2", "image_size": [24, 32]},
            r"image_size is \[24, 32\], expected one",
        ),
        ({"model_type": "dinov2", "hidden_act": "swish"}, "activation='swish' is unknown"),
        ({"model_type": ["dinov2"]}, r"model_type is \['dinov2'\], expected a text; fetch"),
        ({"model_type": "dinov2", "image_size": None}, "image_size is None, expected one side"),
        ({"model_type": "dinov2", "image_size": 4}, "patch=8 must be from 1 to size=4, and grid=0"),
        ({"model_type": "dinov2", "hidden_size": "16"}, "hidden_size is '16', expected a whole nu"),
        ({"model_type": "dinov2", "num_hidden_layers": None}, "num_hidden_layers is None, expect"),
        ({"model_type": "dinov2", "num_hidden_layers": 0}, "depth=0 must be a whole number of at"),
        ({"model_type": "dinov2", "mlp_ratio": {}}, r"mlp_ratio is \{\}, expected a number above"),
        ({"model_type": "dinov2", "layer_norm_eps": float("nan")}, "layer_norm_eps is nan, expect"),
        ({"model_type": "dinov2", "qkv_bias": "no"}, "qkv_bias is 'no', expected true or false"),
        ({"model_type": "clip", "vision_config": [1]}, r"has \[1\] in place of a section"),
        ({"model_type": "clip", "projection_dim": None}, "projection_dim is None, expected a who"),
        (
            {"model_type": "dinov2", "num_attention_heads": 5},
            "width=16 must be a multiple of heads=5",
        ),
        (
            {"model_type": "siglip_vision_model", "vision_use_head": False, "vision_config": None},
            "no attention head",
        ),
    ],
)
def test_other_networks_are_refused(config, message, tmp_path):
    folder = write_folder(tmp_path / "folder", "dinov2", config=config)
    with pytest.raises(ValueError, match=message):
        model_of(folder)


def prepared(tmp_path, kind, preprocessing, name="preprocessor_config.json"):
    """What a folder says of pictures, and their size."""
    folder = write_folder(tmp_path / name, kind, extra={name: preprocessing})
    backbone = vit_backbone(kind, architecture_of(image_tower(read_folder(folder))))
    return backbone.pixels, backbone.size


def test_preparation_as_the_folder_says(tmp_path):
    own = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "rescale_factor": 1 / 255}
    found, size = prepared(tmp_path, "clip", own | {"crop_size": {"height": 32, "width": 32}})
    assert found == ("RGB", 255.0, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)) and size == 32
    found, size = prepared(tmp_path, "clip", {"image_processor": own}, "processor_config.json")
    assert found.mean == (0.1, 0.2, 0.3) and size == SIZE


@pytest.mark.parametrize(
    ("preprocessing", "size"),
    [
        ({"size": 384}, 256),  # as large as photos are
        ({"size": 256}, 256),
        ({"size": {"height": 40, "width": 40}}, 40),
        ({"size": 32}, 32),
        ({"size": {"shortest_edge": 64}, "crop_size": 40}, 40),
        ({"size": {"shortest_edge": 32}, "crop_size": 40, "do_center_crop": False}, 32),
    ],
)
def test_the_size_of_its_pictures(preprocessing, size, tmp_path):
    assert prepared(tmp_path, "siglip", preprocessing)[1] == size


def test_what_is_null_is_as_if_it_were_not_there(tmp_path):
    own = dict.fromkeys(
        ("crop_size", "do_center_crop", "do_rescale", "rescale_factor", "image_std")
    )
    found, size = prepared(tmp_path, "dinov2", own | {"size": {"height": 16, "width": 16}})
    assert (found.scale, found.deviation, size) == (255.0, (0.229, 0.224, 0.225), 16)


def test_one_mean_of_all_channels(tmp_path):
    assert prepared(tmp_path, "siglip", {"image_mean": 0.4})[0].mean == (0.4, 0.4, 0.4)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"rescale_factor": 0}, "rescale_factor is 0, expected a number above 0; fetch"),
        ({"rescale_factor": "1"}, "rescale_factor is '1', expected a number above 0; fetch"),
        ({"image_mean": [0.5]}, r"image_mean is \[0\.5\], expected 3 numbers; fetch"),
        ({"image_mean": [0.5, 0.5, "x"]}, "image_mean is .*, expected 3 numbers; fetch"),
        ({"image_std": [0.5, 0, 0.5]}, r"deviation=\(0\.5, 0\.0, 0\.5\) must be above 0; correct"),
        ({"do_normalize": "x"}, "do_normalize is 'x', expected true or false; fetch"),
        ({"size": "x"}, "size is x, expected one side of a square; give"),
    ],
)
def test_preparation_that_is_none(own, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        prepared(tmp_path, "siglip", own)


def test_preparation_that_is_switched_off(tmp_path):
    found, _ = prepared(tmp_path, "siglip", {"do_rescale": False, "do_normalize": False})
    assert found == ("RGB", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_preparation_as_the_family_does(tmp_path):
    means = {"siglip": 0.5, "clip": 0.48145466, "dinov2": 0.485}
    for kind, mean in means.items():
        found, size = prepared(tmp_path, kind, {})
        assert (found.order, found.scale, found.mean[0], size) == ("RGB", 255.0, mean, SIZE)


@pytest.mark.slow
def test_bfloat16_is_close(tmp_path):
    model = model_of(write_folder(tmp_path / "siglip", "siglip"))
    inputs = pixels(SIZES[1])
    exact, rounded = run(model, inputs), run(model.replace(dtype=jnp.bfloat16), inputs)
    assert rounded["block2"].dtype == jnp.bfloat16 and rounded["logits"].dtype == jnp.float32
    one, other = (model.features(x, model.default_feature) for x in (exact, rounded))
    np.testing.assert_allclose(one, other, atol=0.03)
