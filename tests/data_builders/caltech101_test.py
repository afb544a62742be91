"""Caltech-101: the archive in the official zip, that archive alone, and folders."""

import io
import tarfile

import pytest

from data_builders.caltech101.caltech101_dataset_builder import OFFICIAL, Builder
from data_builders.prepare import prepare
from dsf_jax.data.records import list_datasets, open_records
from tests.data_builders.drawn import photo, write_tar, write_tree, write_zip

NAME = "101_ObjectCategories.tar.gz"
TREE = {
    f"101_ObjectCategories/{name}/image_{i:04}.jpg": photo(4 * c + i, "JPEG")
    for c, name in enumerate(("Faces", "airplanes", "BACKGROUND_Google"))
    for i in range(1, 4)
} | {"101_ObjectCategories/BACKGROUND_Google/tmp": b"x"}


def inner():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in TREE.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def official():
    return {f"caltech-101/{NAME}": inner(), "caltech-101/Annotations.tar": b"not read"}


FORMS = {
    "the official zip": lambda path: write_zip(path / "caltech-101.zip", official()),
    "the zip unpacked": lambda path: write_tree(path, official()),
    "the archive in it": lambda path: write_tar(path / NAME, TREE, "w:gz"),
    "folders": lambda path: write_tree(path / "in", TREE),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_photos_without_the_clutter(tmp_path, form):
    (tmp_path / "src").mkdir()
    source = FORMS[form](tmp_path / "src")
    prepare(Builder(data_dir=tmp_path / "out", source=source, processes=1))
    assert list_datasets(tmp_path / "out") == {"caltech101/photo": {"train": 4, "test": 2}}
    records = open_records(tmp_path / "out", "caltech101/photo", "train+test")
    assert records.class_names == ("Faces", "airplanes")
    ids = {f"101_ObjectCategories/{record['source_id']}" for record in records}
    assert ids == {name for name in TREE if "BACKGROUND" not in name}


def test_a_damaged_archive_in_the_zip_leaves_nothing(tmp_path):
    source = write_zip(tmp_path / "caltech-101.zip", {f"caltech-101/{NAME}": inner()[:300]})
    with pytest.raises(ValueError, match="not whole"):
        prepare(Builder(data_dir=tmp_path / "out", source=source))
    assert not list_datasets(tmp_path / "out")


def test_the_checksum_of_the_public_file_is_known(tmp_path):
    builder = Builder(data_dir=tmp_path)
    known = builder._known_download(OFFICIAL.url)
    assert known.sha256.startswith("331234750fc7f775")
