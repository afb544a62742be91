"""Builders are found by name; the command that builds takes the flags of the one that is named."""

import sys
from pathlib import Path

import pytest

from data_builders.registry import DATASETS, builder_class
from dsf_jax.data.records import list_datasets
from tests.data_builders.drawn import drawing, write_tree

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    tree = {f"sketches/cat/{i}.png": drawing(4 + i) for i in range(4)}
    return write_tree(tmp_path_factory.mktemp("source"), {**tree, "sketches/cat/9.png": b""})


def test_options_of_the_named_builder_are_flags(launch, source, tmp_path):
    given = {"source": source, "data_dir": tmp_path, "on_error": "skip"}
    name = ("--dataset", "sketch_photo_folders")
    done = launch("build_data", *name, "--test_share=0", "--nothinned", **given)
    assert done.status == 0, done.err
    assert list_datasets(tmp_path) == {"sketch_photo_folders/sketch": {"train": 4}}
    assert "sketch_photo_folders/photo: left out" in done.out
    assert "skipped 1 file: 1 empty file" in done.out
    assert "sketches/cat/9.png" in done.out
    changed = launch("build_data", *name, **given)
    assert changed.status == 1 and "was built with test_share=0.0, not 0.2" in changed.err


def test_what_is_wrong_is_one_line(launch, source, tmp_path):
    broken = launch("build_data", dataset="sketch_photo_folders", source=source, data_dir=tmp_path)
    assert broken.status == 1
    assert broken.err.splitlines() == [
        f"error: {source.name}: sketches/cat/9.png: empty file; repair or remove it"
    ]
    unknown = launch("build_data", dataset="hust_si", polarity="white_on_black")
    assert unknown.status == 2 and "polarity" in unknown.err
    assert len(unknown.err.splitlines()) == 1
    foreign = launch("build_data", dataset="openmoji", source="x", data_dir=tmp_path)
    assert foreign.status == 1
    assert foreign.err == "error: openmoji takes no --source; omit it\n"
    assert list_datasets(tmp_path) == {}


def test_help_lists_the_builders_own_flags(launch):
    done = launch("build_data", "--help", dataset="sketch_photo_folders")
    assert done.status == 0
    for flag in ("--source", "--on_error", "--test_share", "--polarity", "--[no]thinned"):
        assert flag in done.out


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
