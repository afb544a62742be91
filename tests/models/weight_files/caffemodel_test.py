"""Caffe's files, encoded by hand."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dsf_jax.models.weight_files.reading import read_weights
from tests.models.weight_files.encoders import (
    LAYERS,
    assert_bit_equal,
    blob_bytes,
    chunk,
    small_net,
    v1_layer,
    v2_layer,
    varint,
    written,
)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_caffemodel_reads_back_bit_for_bit(tmp_path: Path, version: str, legacy: bool) -> None:
    data, arrays = small_net(version, legacy=legacy)
    source = read_weights(written(tmp_path, "net.caffemodel", data))
    assert_bit_equal(source, arrays)
    assert (source.architecture, source.kernel_layout, source.row_order) == ("caffe", "oihw", "chw")


@given(
    array=hnp.arrays(
        st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)]),
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=5),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
    version=st.sampled_from(["v1", "v2"]),
    legacy=st.booleans(),
    packed=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_blob_reads_back(
    tmp_path: Path, array: np.ndarray, version: str, legacy: bool, packed: bool
) -> None:
    blob = blob_bytes(array, legacy=legacy, packed=packed)
    data = LAYERS[version]("conv1", "Convolution", [blob])
    source = read_weights(written(tmp_path, "net.caffemodel", data))
    shape = (1,) * (4 - array.ndim) + array.shape if legacy else array.shape
    assert_bit_equal(source, {"conv1": [array.reshape(shape)]})


def test_a_one_by_one_legacy_convolution_is_not_taken_for_fc(tmp_path: Path) -> None:
    kernel = np.ones((1, 1, 4, 4), np.float32)
    data = v1_layer("upsample", "Convolution", [blob_bytes(kernel, legacy=True)])
    source = read_weights(written(tmp_path, "net.caffemodel", data))
    assert source.layers["upsample"]["kernel"].shape == (1, 1, 4, 4)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_caffenet_is_told_from_alexnet(tmp_path: Path, version: str) -> None:
    data, _ = small_net(version)
    layer = LAYERS[version]
    pool, norm = layer("pool1", "Pooling", []), layer("norm1", "LRN", [])
    ours = read_weights(written(tmp_path, "a.caffemodel", norm + pool + data))
    other = read_weights(written(tmp_path, "b.caffemodel", pool + norm + data))
    assert (ours.architecture, other.architecture) == ("caffe", "caffenet")


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_cut_caffemodel_is_refused_or_lacks_layers(tmp_path: Path, version: str) -> None:
    data, arrays = small_net(version)
    refused = 0
    for cut in range(len(data)):
        path = written(tmp_path, "net.caffemodel", data[:cut])
        try:
            layers = read_weights(path).layers
        except ValueError as error:
            refused += 1
            assert str(path) in str(error)
            assert "\n" not in str(error)
        else:  # Protobuf has no end mark: a cut between two layers leaves a valid file.
            assert list(layers) == ["conv1"]
            assert layers["conv1"]["kernel"].tobytes() == arrays["conv1"][0].tobytes()
    assert refused == len(data) - 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_non_finite_values_name_the_layer(tmp_path: Path, version: str, bad: float) -> None:
    dtype = np.float64 if bad == 1e39 else np.float32  # 1e39 overflows only on conversion.
    bias = np.array([0, bad, 1], dtype)
    data = LAYERS[version](
        "conv3", "Convolution", [blob_bytes(np.ones((3, 1, 1, 1))), blob_bytes(bias)]
    )
    path = written(tmp_path, "net.caffemodel", data)
    with pytest.raises(ValueError, match="layer conv3: bias holds 1 non-finite of 3 values"):
        read_weights(path)


def test_numbers_must_fill_the_shape(tmp_path: Path) -> None:
    blob = chunk(7, chunk(1, varint(2) + varint(3))) + chunk(5, struct.pack("<5f", *range(5)))
    path = written(tmp_path, "net.caffemodel", v2_layer("conv2", "Convolution", [blob]))
    with pytest.raises(ValueError, match=r"layer conv2: kernel has shape \[2, 3\] but 5 numbers"):
        read_weights(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (small_net("v2")[0] * 2, "layer conv1: kernel is there twice"),
        (small_net("v1")[0] + small_net("v2")[0], "layer conv1: kernel is there twice"),
        (v2_layer("relu1", "ReLU", []), "it holds no weights"),
        (b"", "it holds no weights"),
        (v2_layer("conv2", "Convolution", [b""]), "layer conv2: kernel has shape"),
        (b"<html>404</html>", "not a usable .caffemodel file"),
    ],
)
def test_bad_caffemodels(tmp_path: Path, data: bytes, message: str) -> None:
    path = written(tmp_path, "net.caffemodel", data)
    with pytest.raises(ValueError) as error:
        read_weights(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
