"""Export folders that are damaged, mixed up or too new: a message, never wrong numbers."""

import json
import os
import pathlib
import shutil
import zipfile

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dsf_jax.export import load as exported
from dsf_jax.export.load import load_export
from dsf_jax.export.write import write_export
from tests.export.write_test import tiny_model

FUNCTIONS = ("photo_features", "sketch_features", "sketch_classes")
OF_TODAY = pytest.mark.skipif(
    jax.version.__version_info__ < (0, 10, 2), reason="it has an export of jax 0.10.2"
)
FILES = ("params.safetensors", *(f"{name}.stablehlo" for name in FUNCTIONS))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "whole"
    write_export(folder, tiny_model())
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The same network with other values: every shape fits the first one's."""
    folder = tmp_path_factory.mktemp("exports") / "other"
    write_export(folder, tiny_model(1))
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def failed(folder, kind, *words):
    """Checks that loading fails with one line that holds the words and a remedy."""
    with pytest.raises(kind) as error:
        load_export(folder)
    line = str(error.value)
    assert "\n" not in line and "; " in line and str(folder) in line
    for word in words:
        assert str(word) in line, f"{word!r} is not in: {line}"


def rewrite(folder, **changes):
    """A config.json that is right by its own checksum, and by the files' digests."""
    path = folder / exported.CONFIG
    config = json.loads(path.read_text()) | changes
    config["files"] = {
        name: exported.file_digest(folder / name)
        for name in config["files"]
        if (folder / name).exists()
    }
    config["checksum"] = exported.checksum(config)
    path.write_text(json.dumps(config))


def config_of(folder):
    return json.loads((folder / exported.CONFIG).read_text())


@pytest.mark.slow
def test_a_whole_folder_loads_wherever_it_is_copied(folder, whole):
    model, first = load_export(folder), load_export(str(whole))
    assert model.config == first.config
    points = np.full((1, 512, 3), 200, np.uint16)
    np.testing.assert_array_equal(model.sketch_classes(points), first.sketch_classes(points))


def test_notes_in_the_readme_do_no_harm(folder):
    (folder / "README.md").write_text("mine")
    load_export(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.01, 0.5, 1.0])
def test_a_flipped_bit(folder, name, place):
    content = bytearray((folder / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 4
    (folder / name).write_bytes(content)
    failed(folder, ValueError, folder / name, "damaged or of another export")


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file(folder, name):
    os.truncate(folder / name, (folder / name).stat().st_size - 1)
    failed(folder, ValueError, folder / name, "damaged or of another export")


@pytest.mark.parametrize("name", [*FILES, "config.json", "load.py"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    failed(folder, FileNotFoundError, folder / name, "is missing")


@pytest.mark.parametrize("name", ["params.safetensors", "config.json"])
def test_files_of_two_exports(folder, other, name):
    shutil.copy(other / name, folder)
    failed(folder, ValueError, "damaged or of another export")
    shutil.rmtree(folder / "checkpoints")
    failed(folder, ValueError, folder / "params.safetensors", "damaged or of another export")


def test_two_functions_exchanged(folder):
    (folder / "sketch_classes.stablehlo").rename(folder / "photo_features.stablehlo")
    shutil.copy(folder / "sketch_features.stablehlo", folder / "sketch_classes.stablehlo")
    failed(folder, ValueError, "photo_features.stablehlo", "damaged or of another export")
    rewrite(folder)
    path = folder / "photo_features.stablehlo"
    failed(folder, ValueError, path, "holds the function sketch_classes, not photo_features")


def test_every_changed_letter_of_the_configuration(folder):
    """Whatever is changed: class names in another order would be wrong answers."""
    path = folder / exported.CONFIG
    text = path.read_text()
    path.write_text(text.replace('"ant"', '"?"').replace('"bee"', '"ant"').replace('"?"', '"bee"'))
    failed(folder, ValueError, path, "was changed", "checksum")
    rng = np.random.default_rng(0)
    for place in rng.choice(len(text), 300, replace=False):
        changed = text[:place] + ("1" if text[place] != "1" else "2") + text[place + 1 :]
        path.write_text(changed)
        if text[place].isspace() and json.loads(text) == _json(changed):
            continue
        failed(folder, ValueError, path)


def _json(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '"words"', "\xff"])
def test_a_configuration_that_is_none(folder, text):
    (folder / exported.CONFIG).write_bytes(text.encode("latin1"))
    failed(folder, ValueError, folder / exported.CONFIG, "damaged or of another program")


def test_a_folder_that_is_none(tmp_path):
    failed(tmp_path, FileNotFoundError, tmp_path / "config.json", "launch.export")
    failed(tmp_path / "no", FileNotFoundError, tmp_path / "no" / "config.json")


def test_values_of_another_model_by_their_digest(folder, other):
    shutil.copy(other / "params.safetensors", folder)
    rewrite(folder)
    failed(folder, ValueError, "another model", config_of(other)["fingerprint"][:16])


def changed_arrays(folder, change):
    path = folder / "params.safetensors"
    arrays = load_file(path)
    change(arrays)
    save_file(arrays, path)
    rewrite(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.update({"fc8/bias": a["fc8/bias"][:-1].copy()}), ("fc8/bias", "[4]", "[5]")),
        (lambda a: a.update({"fc8/bias": a["fc8/bias"].astype("f8")}), ("fc8/bias", "float64")),
        (lambda a: a.pop("fc8/bias"), ("differ in the parameters ['fc8/bias']",)),
        (lambda a: a.update({"fc9/bias": np.ones(1)}), ("differ in the parameters ['fc9/bias']",)),
    ],
)
def test_parameters_that_do_not_fit_the_configuration(folder, change, words):
    changed_arrays(folder, change)
    failed(folder, ValueError, folder / "params.safetensors", *words)


def test_parameters_that_do_not_fit_the_functions(folder):
    def narrower(arrays):
        arrays["fc8/bias"] = arrays["fc8/bias"][:-1].copy()
        arrays["fc8/kernel"] = arrays["fc8/kernel"][:, :-1].copy()

    params = config_of(folder)["params"]
    params["fc8/bias"]["shape"], params["fc8/kernel"]["shape"] = [4], [16, 4]
    changed_arrays(folder, narrower)
    arrays = load_file(folder / "params.safetensors")
    nested = {}
    for name, array in arrays.items():
        nested.setdefault(name.split("/")[0], {})[name.split("/")[1]] = array
    rewrite(folder, params=params, fingerprint=exported.digest_of_parameters(nested))
    failed(folder, ValueError, "photo_features.stablehlo", "made for other parameters")


def test_class_names_that_are_too_few(folder):
    rewrite(folder, class_names=["ant", "bee"])
    failed(folder, ValueError, "sketch_classes.stablehlo", "distinguishes 5 classes", "names 2")


def test_a_function_that_jax_cannot_read(folder):
    (folder / "photo_features.stablehlo").write_bytes(b"\0" * 3000)
    rewrite(folder)
    failed(
        folder, ValueError, "photo_features.stablehlo", f"cannot be read by jax {jax.__version__}"
    )


def test_safetensors_that_are_none(folder):
    (folder / "params.safetensors").write_bytes(b"\xff" * 3000)
    rewrite(folder)
    failed(folder, ValueError, folder / "params.safetensors", "cannot be read")


def test_a_jax_that_is_too_old(folder, monkeypatch):
    assert config_of(folder)["minimum_jax"] == jax.__version__
    oldest = "0.10.2"
    rewrite(folder, minimum_jax=oldest)
    for version in ("0.9.9", "0.4.30", "0.10.1.dev20260101"):
        monkeypatch.setattr(jax, "__version__", version)
        failed(folder, ValueError, f"needs jax {oldest} or later, and jax {version}", "pip install")
    for version in ("0.10.10", "0.11.0", "1.0.0rc1", f"{oldest}.dev1"):
        monkeypatch.setattr(jax, "__version__", version)
        load_export(folder)


@pytest.mark.parametrize("version", [1, 99])
def test_a_jax_that_runs_other_calling_conventions(folder, version):
    rewrite(folder, calling_convention_version=version)
    failed(folder, ValueError, f"calling convention {version}", f"jax {jax.__version__} runs")


def test_a_folder_of_a_later_loader(folder):
    rewrite(folder, format=2)
    failed(folder, ValueError, "of format 2, this loader reads 1", "load.py")


def test_the_checkpoint_may_be_left_out_but_only_whole(folder):
    damaged = next((folder / "checkpoints").rglob("_METADATA"))
    content = damaged.read_bytes()
    damaged.write_bytes(content + b" ")
    failed(folder, ValueError, damaged, "damaged or of another export")
    damaged.unlink()
    failed(folder, FileNotFoundError, damaged)
    shutil.rmtree(folder / "checkpoints")
    load_export(folder)


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        ("photo_features", np.zeros((1, 256, 256, 3), np.float32), "got float32 [1, 256, 256, 3]"),
        ("photo_features", np.zeros((256, 256, 3), np.uint8), "got uint8 [256, 256, 3]"),
        ("photo_features", np.zeros((1, 227, 227, 3), np.uint8), "uint8 [b, 256, 256, 3]"),
        ("photo_features", np.zeros((0, 256, 256, 3), np.uint8), "got uint8 [0, 256, 256, 3]"),
        ("sketch_features", np.zeros((1, 9, 3), np.int64), "takes uint16 [b, p, 3], got int64"),
        ("sketch_classes", [[[1, 2, 3]]], "takes uint16 [b, p, 3], got list [1, 1, 3]"),
        ("sketch_classes", np.zeros((1, 0, 3), np.uint16), "got uint16 [1, 0, 3]"),
    ],
)
def test_inputs_of_another_kind(whole, name, inputs, words):
    with pytest.raises(ValueError) as error:
        getattr(load_export(whole), name)(inputs)
    assert words in str(error.value) and "README.md" in str(error.value)


def test_a_digest_depends_on_every_name_shape_type_and_bit():
    base = {"a": {"kernel": np.arange(6, dtype=np.float32)}, "b": {"bias": np.ones(2, np.float32)}}
    turned = dict(reversed(base.items()))
    assert exported.digest_of_parameters(base) == exported.digest_of_parameters(turned)
    assert exported.digest_of_parameters(jax.device_put(base)) == exported.digest_of_parameters(
        base
    )
    kernel = base["a"]["kernel"]
    negative = kernel.copy()
    negative[0] = -0.0
    others = [
        {"a": {"kernel": kernel.reshape(2, 3)}},
        {"a": {"kernel": kernel.view(np.int32)}},
        {"a": {"kernel": negative}},
        {"a": {"weight": kernel}},
        {"c": {"kernel": kernel}, "a": {}},
    ]
    digests = {
        exported.digest_of_parameters(p) for p in (base, *(base | other for other in others))
    }
    assert len(digests) == 6


@OF_TODAY
def test_an_export_of_an_earlier_version_loads_and_gives_the_same_numbers(tmp_path):
    """Written with jax 0.10.2 by the version before `digest_of_parameters` got this name."""
    with zipfile.ZipFile(pathlib.Path(__file__).parent / "earlier_export.zip") as archive:
        archive.extractall(tmp_path)
    expected = np.load(tmp_path / "expected.npz")
    model = load_export(tmp_path / "folder")
    assert model.config["fingerprint"] == exported.digest_of_parameters(model.params)
    got = {"sketch_classes": model.sketch_classes(expected["points"])}
    for function, field in (("photo_features", "photo"), ("sketch_features", "points")):
        features = getattr(model, function)(expected[field])
        got |= {f"{function}/{layer}": x for layer, x in features.items()}
    assert sorted([*got, "photo", "points"]) == sorted(expected.files)
    for name, values in got.items():
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-6, err_msg=name)


def test_nested_layers_are_named_by_their_path():
    params = {"block": {"attention": {"kernel": np.ones(2, np.float32)}}, "head": {"bias": 1}}
    named = exported.flat(params)
    assert sorted(named) == ["block/attention/kernel", "head/bias"]
    other = {"block": {"kernel": np.ones(2, np.float32)}}
    assert exported.digest_of_parameters(other) != exported.digest_of_parameters(
        {"block": params["block"]}
    )
