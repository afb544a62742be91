"""Several runs write one gallery, files change their names and disks go off: what is stored stays right."""

import os
import pathlib
import shutil
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image

from dsf_jax.data.mixtures import square_photo
from dsf_jax.gallery import store, synchroniser
from dsf_jax.gallery.gallery import Gallery
from tests.retrieval.gallery_member import EMBEDDER, coarse, save

N = 8


@pytest.fixture
def folder(tmp_path):
    for seed in range(N):
        save(tmp_path / "photos" / f"{seed}.png", seed)
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def small_commits(monkeypatch):
    monkeypatch.setattr(synchroniser, "COMMIT_EVERY", EMBEDDER.batch_size)


def reversed_features(photos):
    return np.ascontiguousarray(coarse(photos)[:, ::-1])


def meanwhile(act, embed=coarse):
    """An embedder that does something else once, when it is given the first pictures."""
    done = []

    def embedded(photos):
        if not done and (photos != 255).any():  # not the blank ones that a gallery asks with
            done.append(act())
        return embed(photos)

    return EMBEDDER._replace(embed_photos=embedded)


def check_each_finds_itself(gallery, embed=coarse):
    for path in gallery.contents().folders:
        for file in pathlib.Path(path).rglob("*.png"):
            photo = square_photo(np.asarray(Image.open(file)))
            (nearest,) = gallery.search(embed(photo[None]), 1)[0]
            assert nearest.picture.path == str(file) and nearest.distance < 1e-3


def test_what_another_network_embeds_stays_out(tmp_path, folder):
    """It replaced the empty gallery, and its rows became neighbours of the other's."""
    uri = tmp_path / "gallery"
    other = EMBEDDER._replace(digest="another", embed_photos=reversed_features)
    embedder = meanwhile(lambda: Gallery.open_or_create(uri, other))
    first = Gallery.open_or_create(uri, embedder)
    with pytest.raises(ValueError, match=r"has been made again .* network another; open it again"):
        first.sync(folder)
    gallery = Gallery.open(uri, other)
    assert len(gallery) == 0
    assert gallery.sync(folder).added == N
    check_each_finds_itself(gallery, reversed_features)


def test_what_was_embedded_for_a_gallery_that_was_deleted_stays_out_of_the_next(tmp_path, folder):
    """Its vectors were reduced by another projection."""
    uri = tmp_path / "gallery"

    def again():
        shutil.rmtree(uri)
        Gallery.create(uri, EMBEDDER, dimensions=3)

    first = Gallery.create(uri, meanwhile(again), dimensions=3)
    with pytest.raises(ValueError, match="has been made again since it was opened"):
        first.sync(folder)
    assert len(Gallery.open(uri)) == 0


def test_one_network_under_two_names_is_one(tmp_path, folder):
    uri = tmp_path / "gallery"
    twin = EMBEDDER._replace(name="./runs/a")
    embedder = meanwhile(lambda: Gallery.open_or_create(uri, twin).sync(folder))
    changes = Gallery.open_or_create(uri, embedder._replace(name="runs/a")).sync(folder)
    assert changes[:4] == (0, 0, 0, N)


def test_files_that_change_names_with_each_other_keep_their_pictures(tmp_path, folder):
    """Where the last row of a picture had been written over before its new file's turn came."""
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER)
    gallery.sync(folder)
    (folder / f"{N - 1}.png").rename(tmp_path / "last.png")
    for seed in range(N - 2, -1, -1):
        (folder / f"{seed}.png").rename(folder / f"{seed + 1}.png")
    (tmp_path / "last.png").rename(folder / "0.png")
    for number, file in enumerate(sorted(folder.iterdir())):
        os.utime(file, (number, number))
    changes = gallery.sync(folder)
    assert changes[:5] == (0, N, 0, 0, ())
    check_each_finds_itself(gallery)


def test_rows_that_another_process_deleted_are_no_obstacle(tmp_path, folder):
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER)
    gallery.sync(folder)
    (folder / "0.png").unlink()
    for seed in range(N, 2 * N):
        save(folder / f"{seed}.png", seed)
    embedder = meanwhile(lambda: Gallery.open(gallery.uri, EMBEDDER).sync(folder))
    changes = Gallery.open(gallery.uri, embedder).sync(folder)
    assert changes.deleted == 0 and changes.failed == ()
    gallery.refresh()
    assert len(gallery) == 2 * N - 1


def test_a_version_that_another_process_tidies_away_is_no_damage(tmp_path, folder, monkeypatch):
    # As if the last commit were older than an hour.
    monkeypatch.setattr(store, "RETENTION", timedelta(milliseconds=1))
    others = tmp_path / "others"
    for seed in range(N, 2 * N):
        save(others / f"{seed}.png", seed)
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER)
    gallery.sync(folder)
    gallery.sync(others)
    for seed in range(N):
        os.utime(folder / f"{seed}.png", (1, 1))
        save(others / f"{N + seed}.png", 3 * N + seed)
    copies, begun = synchroniser.Synchroniser._copies, []

    def late(self, contents):
        if not begun:
            begun.append(True)
            assert Gallery.open(gallery.uri, EMBEDDER).sync(others).changed == N
        return copies(self, contents)

    monkeypatch.setattr(synchroniser.Synchroniser, "_copies", late)
    assert gallery.sync(folder)[:5] == (0, 0, 0, N, ())
    check_each_finds_itself(gallery)


def test_a_disk_that_goes_off_meanwhile_keeps_its_rows(tmp_path, folder, monkeypatch):
    for seed in range(N, 3 * N):
        save(folder / f"disk/{seed}.png", seed)
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER)
    gallery.sync(folder)
    for file in (folder / "disk").iterdir():
        os.utime(file, (1, 1))
    copies = synchroniser.Synchroniser._copies

    def off(self, contents):
        if (folder / "disk").exists():
            (folder / "disk").rename(tmp_path / "off")
        return copies(self, contents)

    monkeypatch.setattr(synchroniser.Synchroniser, "_copies", off)
    changes = gallery.sync(folder)
    assert changes.deleted == 0 and all("vanished" in line for line in changes.failed)
    assert changes.failed and len(gallery) == 3 * N
    assert gallery.sync(folder).absent == ((f"{folder}/disk", 2 * N),)


def test_a_file_that_holds_no_picture_any_more_leaves_by_add_too(tmp_path, folder):
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER)
    gallery.sync(folder)
    (folder / "0.png").write_text("no picture")
    assert gallery.add([folder / "0.png"]).deleted == 1
    assert len(gallery) == N - 1


@pytest.mark.parametrize("dimensions", [0, 3])
def test_a_picture_whose_features_are_not_finite_is_named_and_the_others_are_stored(
    tmp_path, folder, dimensions
):
    """The store refused its whole batch, and with it all that came later, as a fault of the disk."""
    odd = square_photo(np.asarray(Image.open(folder / "3.png")))

    def embed(photos):
        is_odd = (photos == odd).all(axis=(1, 2, 3))
        return np.where(is_odd[:, None], np.nan, coarse(photos))

    embedder = EMBEDDER._replace(embed_photos=embed)
    gallery = Gallery.create(tmp_path / "gallery", embedder, dimensions=dimensions)
    for added in (N - 1, 0):
        changes = gallery.sync(folder)
        assert changes.added == added and changes.unchanged == N - 1 - added
        (line,) = changes.failed
        assert line.startswith(f"{folder / '3.png'}: its features are not finite; look at")
    (folder / "3.png").unlink()
    check_each_finds_itself(gallery)


def test_pictures_that_cannot_be_read_are_named_where_too_few_are_left_to_learn_from(
    tmp_path, folder
):
    for seed in range(2, N):
        (folder / f"{seed}.png").write_bytes(b"\x89PNG damaged")
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER, dimensions=3)
    words = (
        rf"from 2 pictures .*; {N - 2} files could not be read: {folder / '2.png'} .*, and 5 more"
    )
    with pytest.raises(ValueError, match=words):
        gallery.sync(folder)


def test_of_many_equal_files_one_row_is_read(tmp_path, folder, monkeypatch):
    """All were read for each batch: to move 2,000 files of one picture took 20 s, of 500 less than one."""
    for number in range(40):
        shutil.copy(folder / "0.png", folder / f"copy {number}.png")
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER)
    gallery.sync(folder)
    read = []
    take = store.Store.take

    def counted(self, row_ids, names):
        read.append(len(row_ids))
        return take(self, row_ids, names)

    monkeypatch.setattr(store.Store, "take", counted)
    folder = folder.rename(tmp_path / "renamed")
    assert gallery.sync(folder).reused == N + 40
    assert 0 < max(read) <= EMBEDDER.batch_size
    assert len(gallery) == N
