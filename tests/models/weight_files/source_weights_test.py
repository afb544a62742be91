"""What is checked of the arrays of any file."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from dsf_jax.models.weight_files import source_weights
from dsf_jax.models.weight_files.reading import read_weights
from tests.models.weight_files.encoders import written


def test_many_references_to_one_array_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_weights, "MAX_BYTES", 20_000)
    array = np.ones(1000, np.float32)
    tree = {"AlexNet_0": {f"Conv_{i}": {"bias": array} for i in range(9)}}
    path = written(tmp_path, "alexnet.ckpt", pickle.dumps(tree, 3))
    with pytest.raises(ValueError, match=r"20000 bytes of them \(at layer AlexNet_0/Conv_5\)"):
        read_weights(path)
