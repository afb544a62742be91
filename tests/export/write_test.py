"""Export folders: complete or absent, and the same numbers without this package as with it."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.export import write as export
from dsf_jax.export.load import digest_of_parameters, load_export
from dsf_jax.images.points import CANVAS, DARKEST, PADDED_LENGTHS, PADDING
from dsf_jax.models.alexnet import TORCHVISION
from dsf_jax.models.backbones import BACKBONES
from dsf_jax.models.model import Model, ModelConfig, init_model
from dsf_jax.models.weight_files.reading import read_weights
from dsf_jax.recognition.voting import vote
from dsf_jax.retrieval.features import embed_layers
from dsf_jax.training.checkpoints import load_model, save_model
from tests.backbones import TINY, TWO_LAYERS
from tests.export.weights_test import he_params, random_params

pytestmark = pytest.mark.slow

CLASSES = ("ant", "bee", "cat", "dog", "elk")


CONFIG = ModelConfig("tiny", CLASSES, 35, ("fc8",))
ALEXNET = ModelConfig("caffe", CLASSES, 67, ())  # the smallest size whose pool5 is not empty


def tiny_model(seed=0, **changes):
    return init_model(CONFIG._replace(**changes), seed)


def inputs_of(batch, seed=0, length=PADDED_LENGTHS[0]):
    """Photos of noise, sketches of random strokes."""
    rng = np.random.default_rng(seed)
    points = np.full((batch, length, 3), PADDING, np.uint16)
    for row in points:
        steps = np.cumsum(rng.integers(-1, 2, (length - 50, 2)), axis=0)
        row[: length - 50, :2] = (steps * 5 + rng.integers(CANVAS, size=2)) % CANVAS
        row[: length - 50, 2] = rng.integers(1, DARKEST + 1, length - 50)
    photos = rng.integers(0, 256, (batch, 8, 8, 3)).repeat(32, axis=1).repeat(32, axis=2)
    return {"photo": photos.astype(np.uint8), "points": points}


def test_the_checkpoint_of_another_export_is_refused(alexnet, tmp_path):
    """As `--checkpoint` and `--init` take the folder; load_export compares every file."""
    model, folder = alexnet
    mixed = shutil.copytree(folder, tmp_path / "mixed")
    assert load_model(mixed).config == ALEXNET
    shutil.rmtree(mixed / "checkpoints")
    other = model.params | {"fc8": jax.tree.map(lambda x: x + 1, model.params["fc8"])}
    save_model(mixed / "checkpoints", model.replace(params=other))
    with pytest.raises(ValueError, match=r"have the digest .*, those that were saved"):
        load_model(mixed)


# --- a fresh process ---------------------------------------------------------------------------

PRELUDE = """
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

ALLOWED = sys.stdlib_module_names | {
    "load", "jax", "jaxlib", "numpy", "safetensors", "ml_dtypes", "opt_einsum", "scipy", "flatbuffers"
}  # ml_dtypes, opt_einsum and scipy are what jax requires; flatbuffers its reading of functions


class Only:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ALLOWED or name.startswith("_sysconfigdata"):
            return PathFinder.find_spec(name, path, target)


sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Only]
sys.path.insert(0, ".")
for name in ("dsf_jax", "flax", "optax", "orbax", "tensorflow_datasets", "chex", "launch"):
    assert name not in sys.modules
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{name} can be imported")
"""
RUN = """
import numpy as np
from load import load_export

model = load_export(".")
asked = np.load(sys.argv[1])
results = {}
for key in asked.files:
    function, batch = key.split(":")
    answer = getattr(model, function)(asked[key])
    if function == "sketch_classes":
        answer = {"classes": answer}
    results |= {f"{key}:{layer}": np.asarray(x) for layer, x in answer.items()}
np.savez(sys.argv[2], **results)
"""


def outside(folder, script, *arguments):
    """Runs a script in the export folder, where nothing of this package can be imported."""
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", PRELUDE + script, *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, timeout=300,
        env=dict(os.environ, JAX_PLATFORMS="cpu"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory):
    """An AlexNet, and the folder that it was exported to."""
    model = Model(he_params(ALEXNET), ALEXNET)
    folder = tmp_path_factory.mktemp("exports") / "alexnet"
    export.write_export(folder, model)
    return model, folder


def test_the_same_numbers_without_this_package(alexnet, tmp_path):
    model, folder = alexnet
    inputs = inputs_of(9)
    asked, expected = {}, {}
    for function, field in (("photo_features", "photo"), ("sketch_features", "points")):
        layers = model.backbone.compared_features
        live = embed_layers(model, {field: inputs[field]}, layers)
        for batch in (1, 3, 9):
            key = f"{function}:{batch}"
            asked[key] = inputs[field][:batch]
            expected |= {f"{key}:{layer}": np.asarray(x[:batch]) for layer, x in live.items()}
    voted = np.asarray(vote(model, {"points": inputs["points"]}))
    for batch in (1, 3, 9):
        key = f"sketch_classes:{batch}"
        asked[key] = inputs["points"][:batch]
        expected[f"{key}:classes"] = voted[:batch]
    np.savez(tmp_path / "asked.npz", **asked)
    outside(folder, RUN, tmp_path / "asked.npz", tmp_path / "results.npz")
    results = np.load(tmp_path / "results.npz")
    assert sorted(results.files) == sorted(expected)
    for key, values in expected.items():
        assert results[key].shape == values.shape and results[key].dtype == np.float32
        np.testing.assert_allclose(results[key], values, rtol=0, atol=5e-6, err_msg=key)
        if len(values) > 1:  # what the tolerance is far below: how much two examples differ
            assert np.abs(values[0] - values[1]).max() > 1e-4, key


def test_without_flatbuffers_it_says_what_to_install(alexnet):
    hidden = """
ALLOWED -= {"flatbuffers"}
from load import load_export
try:
    load_export(".")
except ValueError as error:
    print(error)
"""
    told = outside(alexnet[1], hidden)
    assert "flatbuffers, which is not installed; run pip install flatbuffers" in told


def test_the_lines_of_the_readme_run_as_they_stand(alexnet):
    model, folder = alexnet
    (lines,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len([line for line in lines.splitlines() if line]) == 10
    told = outside(folder, lines)
    points = np.full((1, 512, 3), PADDING, np.uint16)
    points[0, :401, :2] = np.arange(140, 541)[:, None]
    points[0, :401, 2] = 255
    live = vote(model, {"points": points})
    assert re.fullmatch(
        rf"nearest photo: [012]\nclass: {CLASSES[int(live[0].argmax())]}\n", told
    ), told


def test_the_checkpoint_in_the_folder_is_the_same_model(alexnet):
    model, folder = alexnet
    restored = load_model(folder)
    assert restored.config == ALEXNET
    config = load_export(folder).config
    assert restored.digest() == model.digest() == config["fingerprint"]
    assert digest_of_parameters(model.params) == config["checkpoint_fingerprint"]


# --- what is in the folder ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "tiny"
    export.write_export(folder, tiny_model())
    return folder


def test_the_configuration_says_what_the_model_is(tiny):
    config = json.loads((tiny / "config.json").read_text())
    assert (
        config["variant"] == config["backbone"] == "tiny"
        and tuple(config["class_names"]) == CLASSES
    )
    assert config["size"] == 35 and config["fresh_layers"] == ["fc8"]
    assert config["feature_layers"] == {"L7": ["relu7"]}
    assert config["platforms"] == ["cpu", "cuda", "tpu"]
    assert config["versions"]["jax"] == config["minimum_jax"] == jax.__version__
    assert config["fingerprint"] == digest_of_parameters(tiny_model().params)
    assert config["params"]["fc8/kernel"] == {"shape": [16, 5], "dtype": "float32"}
    network = config["preprocessing"]["network_input"]
    assert network["channels"] == "BGR" and network["size"] == [35, 35]
    np.testing.assert_allclose(network["mean"], [104.00699, 116.66877, 122.67891])
    listed = {path.relative_to(tiny).as_posix() for path in tiny.rglob("*") if path.is_file()}
    assert set(config["files"]) == listed - {"config.json", "README.md"}


def test_preprocessing_of_another_backbone(tmp_path, monkeypatch):
    other = dataclasses.replace(TINY, name="other", pixels=TORCHVISION.pixels)
    monkeypatch.setitem(BACKBONES, "other", other)
    export.write_export(tmp_path / "out", tiny_model(backbone="other", fresh_layers=()))
    network = load_export(tmp_path / "out").config["preprocessing"]["network_input"]
    assert network["channels"] == "RGB" and network["divided_by"] == 255.0
    np.testing.assert_allclose(network["mean"], [0.485, 0.456, 0.406], rtol=1e-6)
    np.testing.assert_allclose(network["deviation"], [0.229, 0.224, 0.225], rtol=1e-6)


def test_random_layers_are_told(tiny, alexnet):
    assert "The layers fc8 have random values still" in (tiny / "README.md").read_text()
    assert "random values" not in (alexnet[1] / "README.md").read_text()


def test_functions_are_for_every_platform_and_name_no_file_of_this_machine(tiny):
    root = str(pathlib.Path(export.__file__).parents[1]).encode()
    for path in tiny.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert root not in content and str(tiny.parent).encode() not in content, path
    for path in tiny.glob("*.stablehlo"):
        exported = jax.export.deserialize(bytearray(path.read_bytes()))
        assert exported.platforms == ("cpu", "cuda", "tpu")
        assert not exported.disabled_safety_checks  # no custom call that a later jax may drop
        assert b".py" not in exported.mlir_module_serialized


def test_equal_models_give_equal_files(tiny, tmp_path):
    export.write_export(tmp_path / "again", tiny_model())
    for name in ("params.safetensors", "README.md", *(f.name for f in tiny.glob("*.stablehlo"))):
        assert (tmp_path / "again" / name).read_bytes() == (tiny / name).read_bytes(), name


def test_points_off_the_canvas_are_refused(tiny):
    model, points = load_export(tiny), inputs_of(2)["points"]
    points[1, 3] = (CANVAS - 1, CANVAS, 255)
    for function in (model.sketch_features, model.sketch_classes):
        with pytest.raises(
            ValueError, match=r"point 3 of sketch 1 is \[680, 681, 255\], expected 0 to 680"
        ):
            function(points)
    points[1, 3] = (0, 0, DARKEST + 1)
    with pytest.raises(ValueError, match="and a darkness of 0 to 255"):
        model.sketch_features(points)
    points[1, 3] = (0, PADDING, 255)
    with pytest.raises(ValueError, match="or 65535 twice for padding; scale"):
        model.sketch_classes(jnp.asarray(points))
    points[1] = PADDING  # fills a batch up
    assert model.sketch_classes(points).shape == (2, 5)


def test_any_batch_and_length_of_the_tiny_network(tiny):
    model, live = load_export(tiny), tiny_model()
    for batch, length in ((1, 60), (5, 8192)):
        points = inputs_of(batch, length=length)["points"]
        probabilities = model.sketch_classes(points)
        expected = vote(live, {"points": points})
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-6)
        np.testing.assert_allclose(np.sum(probabilities, axis=1), 1, atol=1e-5)


# --- whole or not at all ------------------------------------------------------------------------


def test_nothing_is_overwritten(tmp_path):
    for out in (tmp_path / "folder", tmp_path / "file"):
        out.mkdir() if out.name == "folder" else out.write_text("mine")
        with pytest.raises(FileExistsError, match="exists, and nothing is overwritten"):
            export.write_export(out, tiny_model())
    assert not list((tmp_path / "folder").iterdir())
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("step", ["save_model", "save", "_config", "_readme"])
@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(tmp_path, monkeypatch, step, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(export, step, fails)
    with pytest.raises(type(error)):
        export.write_export(tmp_path / "out", tiny_model())
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_options_as_they_were(monkeypatch, tmp_path):
    option = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, option)

    def fails(*_, **__):
        assert getattr(jax.config, option) == 0
        raise ValueError("no such platform")

    with monkeypatch.context() as patched, pytest.raises(ValueError, match="no such platform"):
        patched.setattr(export.export, "export", fails)
        export.write_export(tmp_path / "out", tiny_model())
    assert getattr(jax.config, option) == before
    export.write_export(tmp_path / "out", tiny_model())
    assert getattr(jax.config, option) == before


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_diverged_is_not_exported(tmp_path, value):
    params = jax.device_get(tiny_model().params)
    params["fc7"]["bias"] = np.full(16, value, np.float32)
    with pytest.raises(
        ValueError, match="fc7/bias has values that are not finite; take an earlier"
    ):
        export.write_export(tmp_path / "out", Model(params, CONFIG))
    assert list(tmp_path.iterdir()) == []


# --- files of other frameworks ------------------------------------------------------------------


def test_weight_files_are_written_atomically(tmp_path):
    params = random_params()
    export.write_caffemodel(tmp_path / "net.caffemodel", Model(params, ALEXNET))
    export.write_state_dict(tmp_path / "net.pth", Model(params, ALEXNET))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.caffemodel", "net.pth"]
    for name, layer in (("net.caffemodel", "fc7"), ("net.pth", "classifier.3")):
        kernel = read_weights(tmp_path / name).layers[layer]["kernel"]
        np.testing.assert_array_equal(kernel, params["fc7"]["kernel"].T)


def test_a_refused_weight_file_is_not_begun(tmp_path):
    config = ALEXNET._replace(backbone="torchvision")
    with pytest.raises(ValueError, match="write a PyTorch file instead"):
        export.write_caffemodel(tmp_path / "net.caffemodel", Model(random_params(), config))
    assert not list(tmp_path.iterdir())


def test_a_model_that_does_not_take_points_is_refused(tmp_path):
    config = ALEXNET._replace(resizing="bilinear")
    with pytest.raises(ValueError, match="trained with resizing=bilinear, and what is exported"):
        export.write_export(tmp_path / "out", Model({}, config))
    assert not (tmp_path / "out").exists()


# --- any registered backbone --------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_layers():
    config = ModelConfig("two_layers", CLASSES, TWO_LAYERS.size, ("name",))
    return init_model(config, 0)


def test_a_backbone_of_two_layers_is_exported(two_layers, tmp_path):
    export.write_export(tmp_path / "out", two_layers)
    loaded, inputs = load_export(tmp_path / "out"), inputs_of(3)
    assert loaded.config["feature_layers"] == {"mean": ["mean"], "seen": ["seen"]}
    assert "a network of two layers, 5 classes" in (tmp_path / "out" / "README.md").read_text()
    assert 'photo_features(photos)["mean"]' in (tmp_path / "out" / "README.md").read_text()
    assert load_model(tmp_path / "out").digest() == two_layers.digest()
    for function, field in (("photo_features", "photo"), ("sketch_features", "points")):
        live = embed_layers(two_layers, {field: inputs[field]}, ("mean", "seen"))
        got = getattr(loaded, function)(inputs[field])
        assert got.keys() == live.keys()
        for name, expected in live.items():
            np.testing.assert_allclose(got[name], expected, rtol=0, atol=1e-6)
    expected = vote(two_layers, {"points": inputs["points"]})
    np.testing.assert_allclose(loaded.sketch_classes(inputs["points"]), expected, rtol=0, atol=1e-6)


def test_frameworks_without_names_for_a_backbone_are_refused(two_layers, tmp_path):
    with pytest.raises(
        ValueError, match=r"of a network of two layers \(backbone two_layers\); write a f"
    ):
        export.write_caffemodel(tmp_path / "net.caffemodel", two_layers)
    with pytest.raises(
        ValueError, match=r"two layers \(backbone two_layers\) has none; write a folder"
    ):
        export.write_state_dict(tmp_path / "net.pth", two_layers)
    assert not list(tmp_path.iterdir())


def test_the_readme_says_how_long_it_can_be_read_and_how_to_make_it_again(tiny):
    text = (tiny / "README.md").read_text()
    assert "six months" in text and f"jax {jax.__version__}" in text
    assert "python -m launch.export --checkpoint=" in text
