"""Builders are found by name; the command that builds takes the flags of the one that is named."""

import subprocess
import sys
from pathlib import Path

import pytest

from data_builders.registry import DATASETS, builder_class
from dsf_jax.data.records import list_datasets
from tests.data_builders.drawn import drawing, write_tree

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def _run(*arguments):
    command = [sys.executable, "-m", "launch.build_data", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    tree = {f"sketches/cat/{i}.png": drawing(4 + i) for i in range(4)}
    return write_tree(tmp_path_factory.mktemp("source"), {**tree, "sketches/cat/9.png": b""})


def test_options_of_the_named_builder_are_flags(source, tmp_path):
    arguments = (
        "--dataset",
        "sketch_photo_folders",
        f"--source={source}",
        f"--data_dir={tmp_path}",
    )
    done = _run(*arguments, "--on_error=skip", "--test_share=0", "--nothinned")
    assert done.returncode == 0, done.stderr
    assert list_datasets(tmp_path) == {"sketch_photo_folders/sketch": {"train": 4}}
    assert "sketch_photo_folders/photo: left out" in done.stdout
    assert "skipped 1 file: 1 empty file" in done.stdout
    assert "sketches/cat/9.png" in done.stdout
    changed = _run(*arguments, "--on_error=skip")
    assert changed.returncode == 1 and "was built with test_share=0.0, not 0.2" in changed.stderr


def test_what_is_wrong_is_one_line(source, tmp_path):
    broken = _run("--dataset=sketch_photo_folders", f"--source={source}", f"--data_dir={tmp_path}")
    assert broken.returncode == 1
    assert broken.stderr.splitlines() == [
        f"error: {source.name}: sketches/cat/9.png: empty file; repair or remove it"
    ]
    unknown = _run("--dataset=hust_si", "--polarity=white_on_black")
    assert unknown.returncode == 2 and "polarity" in unknown.stderr
    assert len(unknown.stderr.splitlines()) == 1
    foreign = _run("--dataset=openmoji", "--source=x", f"--data_dir={tmp_path}")
    assert foreign.returncode == 1
    assert foreign.stderr == "error: openmoji takes no --source; omit it\n"
    assert list_datasets(tmp_path) == {}


def test_help_lists_the_builders_own_flags():
    done = _run("--dataset=sketch_photo_folders", "--help")
    assert done.returncode == 0
    for flag in ("--source", "--on_error", "--test_share", "--polarity", "--[no]thinned"):
        assert flag in done.stdout


def test_every_folder_with_a_builder_is_known():
    assert {"openmoji", "sketch_photo_folders", "hust_si", "flickr15k"} <= set(DATASETS)
    with pytest.raises(ValueError, match=r"'nothing' is unknown; choose one of .*openmoji"):
        builder_class("nothing")


@pytest.mark.parametrize("name", DATASETS)
def test_every_builder_is_documented(name):
    folder = Path(sys.modules[builder_class(name).__module__].__file__).parent
    for file in ("README.md", "CITATIONS.bib", "TAGS.txt", "__init__.py"):
        assert (folder / file).is_file()
    assert "licence" in (folder / "README.md").read_text().lower()
