"""Where a gallery may be made, and what is left of one that came to nothing or was damaged."""

import os
import shutil

import numpy as np
import pytest

from dsf_jax.gallery import storage_errors
from dsf_jax.gallery.gallery import Gallery
from tests.gallery.gallery_test import feature
from tests.retrieval.gallery_member import EMBEDDER, save


@pytest.fixture
def folder(tmp_path):
    for seed in range(6):
        save(tmp_path / "photos" / f"{seed}.png", seed)
    return tmp_path / "photos"


def test_a_folder_of_something_else_does_not_become_a_gallery(folder):
    with pytest.raises(ValueError, match=r"is no gallery and holds 6 .*'0.png'; name a new folder"):
        Gallery.create(folder, EMBEDDER)
    assert sorted(path.name for path in folder.iterdir()) == [f"{i}.png" for i in range(6)]


def test_a_new_disk_and_a_hidden_file_are_no_obstacle(tmp_path, folder):
    (tmp_path / "disk/lost+found").mkdir(parents=True)
    (tmp_path / "disk/.DS_Store").touch()
    gallery = Gallery.create(tmp_path / "disk", EMBEDDER)
    assert gallery.sync(folder).added == 6


def test_a_file_is_no_gallery(folder):
    for make in (Gallery.open, lambda uri: Gallery.create(uri, EMBEDDER)):
        with pytest.raises((ValueError, OSError)) as caught:
            make(folder / "0.png")
        assert str(folder / "0.png") in str(caught.value)
    with pytest.raises(ValueError, match=r"0\.png is a file, and a gallery is a folder; name"):
        Gallery.open(folder / "0.png")


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [{"dimensions": 3}, {"dtype": "float16"}, {"embedder": EMBEDDER._replace(digest="another")}],
)
def test_an_empty_gallery_is_made_again_as_it_is_wanted(tmp_path, folder, other):
    uri = tmp_path / "gallery"
    failed = Gallery.open_or_create(uri, EMBEDDER, dimensions=40)
    with pytest.raises(
        ValueError, match=r"dimensions=40 cannot be learned from 6 pictures.*choose"
    ):
        failed.sync(folder)
    wanted = {"embedder": EMBEDDER} | other
    gallery = Gallery.open_or_create(uri, **wanted)
    assert gallery.sync(folder).added == 6
    assert gallery.config.digest == wanted["embedder"].digest
    assert gallery.config.dimensions == other.get("dimensions", 48)
    assert gallery.search(feature(3), 1)[0][0].picture.path == f"{folder}/3.png"
    with pytest.raises(ValueError, match="has been made again since it was opened"):
        failed.sync(folder)
    if "embedder" in other:
        with pytest.raises(ValueError, match="holds L6"):
            Gallery.open_or_create(uri, EMBEDDER)
    assert len(Gallery.open_or_create(uri, **(wanted | {"dimensions": 7}))) == 6


def test_a_projection_that_outlived_its_run_goes_with_the_empty_gallery(tmp_path, folder):
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER, dimensions=3)
    gallery.sync(folder)
    gallery.remove(folder)
    again = Gallery.open_or_create(tmp_path / "gallery", EMBEDDER, dimensions=4)
    assert again.sync(folder).added == 6
    assert again.project(feature(0)).shape == (1, 4)


def test_a_projection_that_is_missing_is_not_learned_anew_beside_old_rows(tmp_path, folder):
    uri = tmp_path / "gallery"
    Gallery.create(uri, EMBEDDER, dimensions=3).sync(folder)
    shutil.rmtree(uri / "projection.lance")
    save(folder / "new.png", 99)
    gallery = Gallery.open(uri, EMBEDDER)
    for method in (lambda: gallery.sync(folder), lambda: gallery.search(feature(0), 1)):
        with pytest.raises(OSError, match=r"is damaged: its projection.* missing; restore"):
            method()


def data_files(uri):
    return sorted((uri / "pictures.lance/data").iterdir())


@pytest.mark.parametrize("how", ["missing", "empty", "cut", "zeros"])
def test_a_damaged_gallery_says_so_and_what_to_do(tmp_path, folder, how):
    uri = tmp_path / "gallery"
    Gallery.create(uri, EMBEDDER).sync(folder)
    (file,) = data_files(uri)
    content = file.read_bytes()
    file.unlink()
    if how != "missing":
        file.write_bytes({"empty": b"", "cut": content[:90], "zeros": bytes(len(content))}[how])
    with pytest.raises(OSError) as caught:
        Gallery.open(uri).nearest(np.zeros((1, 48), np.float32), 1)
    line = str(caught.value)
    assert line.startswith(f"{uri} is damaged") and "; restore it from a copy, or make" in line
    assert not any(
        word in line for word in ("cargo", "rustc", ".rs:", "run the command again", "\n")
    )
    if how == "missing":
        assert f"(pictures.lance/data/{file.name})" in line


@pytest.mark.parametrize("file", ["data/*.lance", "_versions/*.manifest"])
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "zeros"])
def test_a_damaged_projection_says_so_and_what_to_do(tmp_path, folder, how, file):
    uri = tmp_path / "gallery"
    Gallery.create(uri, EMBEDDER, dimensions=3).sync(folder)
    (path,) = (uri / "projection.lance").glob(file)
    content = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes({"empty": b"", "cut": content[:90], "zeros": bytes(len(content))}[how])
    save(folder / "new.png", 99)
    gallery = Gallery.open(uri, EMBEDDER)
    for method in (lambda: gallery.sync(folder), lambda: gallery.search(feature(0), 1)):
        with pytest.raises(OSError) as caught:
            method()
        line = str(caught.value)
        assert line.startswith(f"{uri} is damaged") and "; restore it from a copy, or make" in line
        assert not any(word in line for word in ("cargo", "rustc", ".rs:", "\n"))


def raised(text, kind=RuntimeError):
    with pytest.raises(OSError) as caught, storage_errors.storage_errors("/g"):
        raise kind(text)
    line = str(caught.value)
    assert "/g" in line and "cargo" not in line and ".rs:" not in line
    return caught.value


LINKS = (
    "lance error: LanceError(IO): Generic LocalFileSystem error: Unable to rename file: Operation not "
    "permitted (os error 1), /root/.cargo/registry/src/x/lance-table-13.0.0/src/io/commit.rs:1663:50",
    "lance error: LanceError(IO): Generic LocalFileSystem error: Unable to rename file: Operation not "
    "supported (os error 95), /root/.cargo/registry/src/x/lance-table-13.0.0/src/io/commit.rs:1:2",
    "LanceDBError: not supported: the filesystem does not support an operation required for safe "
    "Lance commits (such as atomic rename).",
)


@pytest.mark.parametrize("text", LINKS)
def test_a_file_system_without_hard_links_is_named(text):
    """As LanceDB 0.40 says it where link(2) fails with EPERM and ENOTSUP."""
    line = str(raised(text, NotImplementedError))
    assert (
        "a file system without hard links" in line and "; put the gallery on another disk" in line
    )


@pytest.mark.parametrize("number", [13, 30, 5])
def test_what_the_system_refuses_is_its_own_error(number):
    place = (
        "/root/.cargo/registry/src/index.crates.io-1/lance-io-13.0.0/src/object_store.rs:1006:34"
    )
    error = raised(
        f'lance error: LanceError(IO): no (os error {number}) at path "/g/x/data/.tmp", {place}'
    )
    assert (error.errno, error.filename, error.strerror) == (number, "/g", os.strerror(number))


def test_windows_numbers_its_errors_otherwise(monkeypatch):
    monkeypatch.setattr(storage_errors.sys, "platform", "win32")
    assert raised("lance error: Access is denied. (os error 5)").errno == 13


def test_other_faults_of_the_store(monkeypatch):
    assert "too many processes at once" in str(raised("lance error: Commit conflict for version 7"))
    line = str(raised("lance error: strange, /rustc/2d81/library/core/src/ops/function.rs:250:5"))
    assert "(lance error: strange); check its disk or network, and if" in line
    with pytest.raises(ValueError, match="mine"), storage_errors.storage_errors("/g"):
        raise ValueError("mine")
