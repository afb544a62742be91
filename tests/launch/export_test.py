"""launch.export: folders and files that leave this package, whole or not at all."""

import pytest

from dsf_jax.export.load import load_export
from dsf_jax.training.checkpoints import load_model


@pytest.fixture
def given(port, tmp_path):
    return {"checkpoint": port[1], "out": tmp_path / "out"}


def test_a_folder_of_the_checkpoint(launch, given):
    out = given["out"]
    told = launch("export", **given).succeeded()
    assert told.splitlines() == [
        f"torchvision, 1000 classes, written to {out}",
        "random values still: fc6, fc7, fc8",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    model = load_model(given["checkpoint"])
    config = load_export(out).config
    assert config["fingerprint"] == model.digest()
    assert tuple(config["class_names"]) == model.class_names
    assert load_model(out).config == model.config


def test_a_state_dict_that_is_ported_back(launch, given, tmp_path):
    out = tmp_path / "alexnet.pth"
    launch("export", **given | {"format": "pytorch", "out": out}).succeeded()
    flags = {"source": out, "backbone": "torchvision", "out": tmp_path / "back"}
    assert "8 of 8 layers loaded" in launch("port_weights", **flags).succeeded()
    old, new = load_model(given["checkpoint"]), load_model(tmp_path / "back")
    assert new.digest() == old.digest()


def test_a_folder_that_travels_is_a_checkpoint_of_every_command(launch, given, tmp_path):
    out = given["out"]
    launch("export", **given, format="pretrained", licence="cc-by-4.0").succeeded()
    assert "license: cc-by-4.0" in (out / "README.md").read_text()
    again = {"checkpoint": out, "out": tmp_path / "alexnet.pth", "format": "pytorch"}
    launch("export", **again).succeeded()
    launch("export", **again | {"out": tmp_path / "x.pth", "licence": "mit"}).failed(
        "--licence is for --format=pretrained, not pytorch"
    )
    damaged = out / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-4])
    launch("export", **again | {"out": tmp_path / "y.pth"}).failed(
        damaged, "fetch the folder again"
    )


def test_nothing_is_overwritten(launch, given, tmp_path):
    (tmp_path / "out").mkdir()
    launch("export", **given).failed(given["out"], "exists, and nothing is overwritten")
    assert not list((tmp_path / "out").iterdir())
    out = tmp_path / "alexnet.pth"
    out.write_text("mine")
    result = launch("export", **given | {"format": "pytorch", "out": out})
    result.failed(out, "exists, and nothing is overwritten")
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("form", "name", "words"),
    [
        ("pytorch", "alexnet.caffemodel", "must end in .pth or .pt for --format=pytorch"),
        ("caffemodel", "alexnet.pth", "must end in .caffemodel for --format=caffemodel"),
        ("onnx", "alexnet.pth", "must end in .onnx for --format=onnx"),
        ("caffemodel", "net.caffemodel", "a .caffemodel is of Caffe's AlexNet"),
        ("stablehlo", "no/out", "is not a folder"),
    ],
)
def test_what_cannot_be_written_is_not_begun(launch, given, tmp_path, form, name, words):
    launch("export", **given | {"format": form, "out": tmp_path / name}).failed(words)
    assert not list(tmp_path.iterdir())


def test_wrong_flags(launch, given, tmp_path):
    launch("export", out=given["out"]).failed("--checkpoint must be given", status=2)
    launch("export", **given | {"format": "tflite"}).failed("tflite", "stablehlo", status=2)
    given["checkpoint"] = tmp_path / "no"
    launch("export", **given).failed(tmp_path / "no", "does not exist")
    assert not list(tmp_path.iterdir())


def test_too_small_a_disk_is_left_as_it_was(launch, small_disk, given):
    disk = small_disk(200)
    line = launch("export", **given | {"out": disk / "out"}).failed("free some")
    assert "takes up to 466 MiB, and 200 MiB are free" in line
    assert list(disk.iterdir()) == []
    given |= {"format": "pytorch", "out": disk / "alexnet.pth"}
    assert "takes up to 233 MiB, and 200 MiB are free" in launch("export", **given).failed("free")
    assert list(disk.iterdir()) == []
