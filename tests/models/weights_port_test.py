"""The port of weights into parameter trees: every number in its place, every name accounted for."""

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf_jax.models.model import Model, ModelConfig, init_model
from dsf_jax.models.weight_files.lpips import lpips_weights_path
from dsf_jax.models.weight_files.reading import read_weights
from dsf_jax.models.weight_files.source_weights import Architecture, SourceWeights
from dsf_jax.models.weights_port import PortReport, port_weights
from tests.backbones import TWO_LAYERS

DEV_DATA = Path(
    os.environ.get("DSF_JAX_DEV_DATA", Path(__file__).resolve().parents[2].parent / "shared")
)
TORCH_NAMES = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}
# A small network with AlexNet's layers: pool5 is 2x2 with 5 channels, so fc6 has 20 inputs.
SMALL = {
    "conv1": (3, 2, 3, 4),
    "conv2": (2, 2, 2, 6),
    "conv3": (1, 2, 6, 8),
    "conv4": (2, 1, 4, 8),
    "conv5": (2, 2, 4, 5),
    "fc6": (20, 7),
    "fc7": (7, 9),
    "fc8": (9, 3),
}
Tree = dict[str, dict[str, Any]]


def ported(
    weights: SourceWeights, tree: Tree, *, variant: str, partial: bool = False
) -> tuple[Tree, PortReport]:
    """Ports into a model of these parameters; what stays random are its fresh layers."""
    start = Model(tree, ModelConfig(variant, (), 227, ("none",)))
    model, report = port_weights(weights, start, partial=partial)
    assert model.config == start.config._replace(fresh_layers=tuple(report.random))
    return model.params, report


def template(shapes: dict[str, tuple[int, ...]] = SMALL) -> Tree:
    return {
        layer: {"kernel": np.zeros(shape, np.float32), "bias": np.zeros(shape[-1], np.float32)}
        for layer, shape in shapes.items()
    }


def alexnet_shapes(variant: str, classes: int) -> Tree:
    """The full-size parameters as shapes only, as `jax.eval_shape` gives them."""
    convs = {
        "caffe": [(11, 3, 96), (5, 48, 256), (3, 256, 384), (3, 192, 384), (3, 192, 256)],
        "torchvision": [(11, 3, 64), (5, 64, 192), (3, 192, 384), (3, 384, 256), (3, 256, 256)],
    }[variant]
    shapes = {f"conv{i}": (k, k, n, m) for i, (k, n, m) in enumerate(convs, start=1)}
    fc = {"fc6": (9216, 4096), "fc7": (4096, 4096), "fc8": (4096, classes)}
    return {
        layer: {
            "kernel": jax.ShapeDtypeStruct(shape, "float32"),
            "bias": jax.ShapeDtypeStruct(shape[-1:], "float32"),
        }
        for layer, shape in (shapes | fc).items()
    }


def source(
    kernel_layout: Literal["oihw", "hwio"] = "oihw",
    *,
    row_order: Literal["chw", "hwc"] = "chw",
    torch: bool = False,
) -> SourceWeights:
    """Random weights for the small network, as a file would hold them."""
    rng = np.random.default_rng(0)
    layers = {}
    for layer, shape in SMALL.items():
        if kernel_layout == "oihw":
            shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
        outputs = SMALL[layer][-1]
        layers[TORCH_NAMES[layer] if torch else layer] = {
            "kernel": rng.normal(size=shape).astype(np.float32),
            "bias": rng.normal(size=outputs).astype(np.float32),
        }
    return SourceWeights(
        path=Path("net.file"),
        architecture="torchvision" if torch else "caffe",
        kernel_layout=kernel_layout,
        row_order=row_order,
        layers=layers,
    )


def without(weights: SourceWeights, *layers: str) -> SourceWeights:
    kept = {name: blobs for name, blobs in weights.layers.items() if name not in layers}
    return dataclasses.replace(weights, layers=kept)


def with_layer(weights: SourceWeights, layer: str, **blobs: np.ndarray) -> SourceWeights:
    return dataclasses.replace(weights, layers=weights.layers | {layer: blobs})


@pytest.mark.parametrize("variant", ["caffe", "torchvision"])
def test_oihw_kernels_land_element_by_element(variant: str) -> None:
    weights = source("oihw", torch=variant == "torchvision")
    params, report = ported(weights, template(), variant=variant)
    names = TORCH_NAMES if variant == "torchvision" else {layer: layer for layer in SMALL}
    for layer, shape in SMALL.items():
        blobs, got = weights.layers[names[layer]], params[layer]
        for index in np.ndindex(*shape):
            if len(shape) == 4:
                h, w, i, o = index
                assert got["kernel"][h, w, i, o] == blobs["kernel"][o, i, h, w]
            else:
                i, o = index
                assert got["kernel"][i, o] == blobs["kernel"][o, i]
        np.testing.assert_array_equal(got["bias"], blobs["bias"])
    assert dict(report.loaded) == names
    assert not report.random


@pytest.mark.parametrize("row_order", ["chw", "hwc"])
def test_hwio_kernels_stay_and_fc6_reads_pool5_in_our_order(
    row_order: Literal["chw", "hwc"],
) -> None:
    weights = source("hwio", row_order=row_order)
    params, _ = ported(weights, template(), variant="caffe")
    for layer in SMALL:
        if layer != "fc6":
            kernel = weights.layers[layer]["kernel"]
            np.testing.assert_array_equal(params[layer]["kernel"], kernel)
    pool5 = np.random.default_rng(1).normal(size=(5, 2, 2))  # c, h, w
    theirs = pool5 if row_order == "chw" else pool5.transpose(1, 2, 0)
    np.testing.assert_allclose(
        pool5.ravel() @ params["fc6"]["kernel"],
        theirs.ravel() @ weights.layers["fc6"]["kernel"],
        rtol=1e-12,
    )


def test_hwc_rows_need_a_square_pool5() -> None:
    tree = template(SMALL | {"fc6": (15, 7)})
    weights = source("hwio", row_order="hwc")
    weights = with_layer(weights, "fc6", kernel=np.ones((15, 7)), bias=np.ones(7))
    with pytest.raises(ValueError, match="fc6/kernel has 15 inputs, expected 5 times a square"):
        ported(weights, tree, variant="caffe")


def test_the_result_is_contiguous_float32_of_the_templates_structure() -> None:
    tree = template()
    params, _ = ported(source(), tree, variant="caffe")
    assert jax.tree_util.tree_structure(params) == jax.tree_util.tree_structure(tree)
    for leaf, old in zip(jax.tree.leaves(params), jax.tree.leaves(tree), strict=True):
        assert isinstance(leaf, np.ndarray)
        assert leaf.dtype == np.float32
        assert leaf.flags.c_contiguous
        assert not old.any()  # the template is left alone


@given(dropped=st.sets(st.sampled_from(sorted(SMALL)), max_size=len(SMALL) - 1))
def test_partial_loads_what_is_there(dropped: set[str]) -> None:
    weights, tree = without(source(), *dropped), template()
    params, report = ported(weights, tree, variant="caffe", partial=True)
    assert set(report.loaded) == set(SMALL) - dropped
    assert set(report.random) == dropped
    for layer in SMALL:
        for leaf in ("kernel", "bias"):
            assert (params[layer][leaf] is tree[layer][leaf]) == (layer in dropped)
    if dropped:
        with pytest.raises(ValueError) as error:
            ported(weights, tree, variant="caffe")
        for layer, shape in SMALL.items():
            line = f"- {layer}/kernel {list(shape)}: missing"
            assert (line in str(error.value)) == (layer in dropped)


def test_a_layer_is_loaded_completely_or_not_at_all() -> None:
    weights, tree = source(), template()
    weights = with_layer(weights, "fc8", bias=np.ones(1000, np.float32))
    params, report = ported(weights, tree, variant="caffe", partial=True)
    assert params["fc8"]["bias"] is tree["fc8"]["bias"]
    assert dict(report.random) == {"fc8": "only bias in the file"}


def test_the_report_names_every_layer_and_its_fate() -> None:
    weights = without(source(torch=True), "classifier.1")
    weights = with_layer(weights, "classifier.6", bias=np.ones(3, np.float32))
    _, report = ported(weights, template(), variant="torchvision", partial=True)
    assert str(report).splitlines() == [
        "net.file -> torchvision: 6 of 8 layers loaded",
        "  conv1  loaded from features.0",
        "  conv2  loaded from features.3",
        "  conv3  loaded from features.6",
        "  conv4  loaded from features.8",
        "  conv5  loaded from features.10",
        "  fc7    loaded from classifier.4",
        "  fc6    random: not in the file",
        "  fc8    random: only bias in the file",
    ]


def test_everything_wrong_is_listed_at_once() -> None:
    weights = without(source(), "conv3")
    weights = with_layer(weights, "conv3a", kernel=np.ones((8, 6, 1, 2)), bias=np.ones(8))
    weights = with_layer(weights, "conv2", kernel=np.ones((6, 3, 2, 2)), bias=np.ones(6))
    weights = with_layer(weights, "fc7", **weights.layers["fc7"], blob2=np.ones(4))
    with pytest.raises(ValueError) as error:
        ported(weights, template(), variant="caffe")
    assert str(error.value) == (
        "net.file: does not fit the caffe network: "
        "-+ conv2/kernel: expected [2, 2, 2, 6], got [2, 2, 3, 6] (conv2/kernel); "
        "- conv3/bias [8]: missing; "
        "- conv3/kernel [1, 2, 6, 8]: missing; "
        "+ fc7/blob2 [4]: unknown; "
        "+ conv3a (kernel [8, 6, 1, 2], bias [8]): unknown. "
        "Missing layers may stay random with partial (--partial); another fc8 needs its num_classes (--num_classes)"
    )


def test_partial_does_not_excuse_unknown_or_misshapen_layers() -> None:
    for layer in ("conv9", "fc7"):
        weights = with_layer(source(), layer, kernel=np.ones((2, 2)), bias=np.ones(2))
        with pytest.raises(ValueError, match=layer):
            ported(weights, template(), variant="caffe", partial=True)


def test_a_layer_under_two_names_is_refused() -> None:
    weights = source(torch=True)
    weights = with_layer(weights, "conv1", **weights.layers["features.0"])
    with pytest.raises(ValueError, match=r"\+ conv1 \(kernel .*\): unknown"):
        ported(weights, template(), variant="torchvision")


def test_unfitting_ranks_are_errors_not_crashes() -> None:
    weights = with_layer(source(), "conv1", kernel=np.ones(3), bias=np.ones((1, 4)))
    with pytest.raises(ValueError, match=r"conv1/kernel: expected \[3, 2, 3, 4\], got \[3\]"):
        ported(weights, template(), variant="caffe")


@pytest.mark.parametrize(
    ("architecture", "variant"),
    [("caffe", "torchvision"), ("torchvision", "caffe"), ("caffenet", "caffe")],
)
def test_another_architecture_is_refused_even_where_shapes_fit(
    architecture: Architecture, variant: str
) -> None:
    weights = dataclasses.replace(
        without(source(), "conv1", "conv2", "conv3", "conv4", "conv5"), architecture=architecture
    )
    with pytest.raises(ValueError, match=f"holds {architecture} weights, expected {variant}"):
        ported(weights, template(), variant=variant, partial=True)


def test_an_unknown_architecture_is_refused() -> None:
    weights = dataclasses.replace(source(), architecture=None)
    with pytest.raises(ValueError, match=r"expected conv1/kernel with 96 .* or 64"):
        ported(weights, template(), variant="caffe")


def test_unknown_options_list_the_known() -> None:
    with pytest.raises(ValueError, match="backbone='vgg' is unknown; choose one of caffe, torchv"):
        ported(source(), template(), variant="vgg")
    with pytest.raises(ValueError, match=r"give variables\['params'\]"):
        ported(source(), {"params": template()}, variant="caffe")


def test_nothing_to_load_is_an_error() -> None:
    with pytest.raises(ValueError, match="no layer to load"):
        ported(without(source(), *SMALL), template(), variant="caffe", partial=True)


def test_a_backbone_without_weight_files_is_refused() -> None:
    config = ModelConfig(TWO_LAYERS.name, ("a", "b"), TWO_LAYERS.size, ())
    message = (
        r"no weight files of .* \(backbone two_layers\) are read; choose one of caffe, torchvision"
    )
    with pytest.raises(ValueError, match=message):
        port_weights(source(), init_model(config, 0))


def test_our_own_npz_comes_back_as_it_was(tmp_path: Path) -> None:
    """Keys, layout and row order of the .npz format are those of the parameters themselves."""
    tree = template(SMALL | {"conv1": (3, 2, 3, 96)})
    rng = np.random.default_rng(4)
    saved = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), tree)
    arrays = {f"{layer}/{leaf}": a for layer, blobs in saved.items() for leaf, a in blobs.items()}
    np.savez(tmp_path / "net.npz", **arrays)
    params, _ = ported(read_weights(tmp_path / "net.npz"), tree, variant="caffe")
    jax.tree.map(np.testing.assert_array_equal, params, saved)


def test_lpips_convolutions_fit_the_torchvision_variant() -> None:
    try:
        path = lpips_weights_path()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    shapes = alexnet_shapes("torchvision", 250)
    params, report = ported(read_weights(path), shapes, variant="torchvision", partial=True)
    assert list(report.loaded) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert params["fc6"] == shapes["fc6"]
    assert params["conv1"]["kernel"].shape == (11, 11, 3, 64)
    # The public weights' first convolution: symmetric about zero, bounded, clearly not random.
    assert 0.1 < params["conv1"]["kernel"].std() < 0.13


def test_bvlc_convolutions_fit_the_caffe_variant_and_no_other() -> None:
    path = DEV_DATA / "weights" / "bvlc_alexnet_conv1-5_q78.npz"
    if not path.is_file():
        pytest.skip(f"{path} is absent (set DSF_JAX_DEV_DATA)")
    weights = read_weights(path)
    params, report = ported(weights, alexnet_shapes("caffe", 250), variant="caffe", partial=True)
    assert list(report.loaded) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert set(report.random.values()) == {"only bias in the file"}
    with np.load(path) as arrays:
        np.testing.assert_array_equal(params["conv2"]["kernel"], arrays["conv2/kernel"])
    shapes = alexnet_shapes("torchvision", 250)
    for told in ("caffe", "torchvision"):  # Even a wrong label cannot make the shapes fit.
        relabelled = dataclasses.replace(weights, architecture=told)
        with pytest.raises(ValueError):
            ported(relabelled, shapes, variant="torchvision", partial=True)
