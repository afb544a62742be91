"""A gallery follows its folder, finds what NumPy finds, and survives what disks and people do to it."""

import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

from dsf_jax.gallery import crawl, snapshot, store, synchroniser
from dsf_jax.gallery import gallery as gallery_module
from dsf_jax.gallery.gallery import Gallery
from tests.retrieval.gallery_member import BATCH, EMBEDDER, D, coarse, picture, save

ROOT = pathlib.Path(__file__).parent.parent.parent
NAMES = (
    "cats/a.png",
    "cats/b.jpg",
    "cats/wild/it's c.png",
    "dogs/ü d.png",
    "e.png",
    "dogs-2/f.png",
)


@pytest.fixture
def folder(tmp_path):
    for seed, name in enumerate(NAMES):
        save(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


@pytest.fixture
def gallery(folder, tmp_path):
    made = Gallery.create(tmp_path / "gallery", EMBEDDER)
    assert made.sync(folder)[:4] == (len(NAMES), 0, 0, 0)
    return made


def listed(gallery):
    """Names below the folder, by what a search finds."""
    (matches,) = gallery.nearest(np.zeros((1, gallery.config.dimensions), np.float32), 999)
    names = sorted(match.picture.path.partition("/photos/")[2] for match in matches)
    assert len(names) == len(gallery) == len({match.picture.id for match in matches})
    return names


def no_embedding(gallery, monkeypatch):
    def refused(photos):
        raise AssertionError("nothing was to be embedded")

    monkeypatch.setattr(gallery, "_embedder", EMBEDDER._replace(embed_photos=refused))


def feature(seed):
    return coarse(np.asarray(picture(seed).resize((256, 256), Image.Resampling.BILINEAR))[None])


def test_what_is_listed(gallery, folder):
    assert listed(gallery) == sorted(NAMES)
    assert gallery.labels() == {"cats": 2, "dogs": 1, "dogs-2": 1, "wild": 1}
    (match,) = gallery.search(feature(2), 1)[0]
    assert match.picture.path == str(folder / NAMES[2]) and match.distance < 1e-3
    assert match.picture[2:] == ("wild", "cats/wild", 60, 40)
    assert gallery.get(match.picture.id) == match.picture
    (match,) = gallery.search(feature(4), 1)[0]
    assert (match.picture.label, match.picture.folder) == (None, "")


def test_thumbnails_are_small_jpegs_and_never_larger_than_the_picture(tmp_path):
    save(tmp_path / "photos" / "large.png", 1, size=(900, 300))
    save(tmp_path / "photos" / "small.png", 2, size=(30, 20))
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER)
    gallery.sync(tmp_path / "photos")
    sizes = set()
    for (match,) in gallery.search(np.concatenate([feature(1), feature(2)]), 1):
        (tmp_path / "thumbnail").write_bytes(gallery.thumbnail(match.picture.id))
        with Image.open(tmp_path / "thumbnail") as image:
            assert image.format == "JPEG"
            sizes.add(image.size)
    assert sizes == {(256, 85), (30, 20)}


def test_an_unchanged_folder_is_not_read(gallery, folder, monkeypatch):
    monkeypatch.setattr(crawl, "_read", None)
    before = gallery._snapshot
    assert gallery.sync(folder) == (0, 0, 0, len(NAMES), (), 0, ())
    assert gallery._snapshot is before


def test_added_changed_deleted_touched(gallery, folder):
    save(folder / "new/g.png", 100)
    save(folder / NAMES[0], 101)
    (folder / NAMES[1]).unlink()
    os.utime(folder / NAMES[4])
    assert gallery.sync(folder) == (1, 1, 1, len(NAMES) - 2, (), 0, ())
    assert listed(gallery) == sorted({*NAMES, "new/g.png"} - {NAMES[1]})
    assert gallery.search(feature(101), 1)[0][0].picture.path == str(folder / NAMES[0])
    assert gallery.search(feature(0), 1)[0][0].distance > 0.01
    assert gallery.sync(folder).unchanged == len(NAMES)


def test_moved_files_keep_their_vectors(gallery, folder, monkeypatch):
    before = {m.picture.id: m.distance for m in gallery.search(feature(1), 9)[0]}
    (folder / "cats").rename(folder / "katzen")
    no_embedding(gallery, monkeypatch)
    assert gallery.sync(folder) == (3, 0, 3, 3, (), 3, ())
    assert gallery.labels() == {"dogs": 1, "dogs-2": 1, "katzen": 2, "wild": 1}
    assert {m.picture.id: m.distance for m in gallery.search(feature(1), 9)[0]} == before
    assert len(gallery.thumbnail(gallery.search(feature(0), 1)[0][0].picture.id)) > 100


def test_one_picture_at_two_paths_is_listed_once(gallery, folder, monkeypatch):
    shutil.copy(folder / NAMES[0], folder / "cats/aa.png")
    no_embedding(gallery, monkeypatch)
    assert gallery.sync(folder) == (1, 0, 0, len(NAMES), (), 1, ())
    assert listed(gallery) == sorted(NAMES)
    (folder / NAMES[0]).unlink()
    assert gallery.sync(folder).deleted == 1
    assert listed(gallery) == sorted({*NAMES, "cats/aa.png"} - {NAMES[0]})
    assert gallery.sync(folder).unchanged == len(NAMES)


@pytest.mark.parametrize("by_index", [False, True])
def test_copies_are_found_in_each_of_their_folders(tmp_path, by_index):
    """They were listed under their first path alone, and a folder of copies held none."""
    for seed, name in enumerate(("all/1.png", "all/2.png", "best/3.png")):
        save(tmp_path / "photos" / name, seed)
    for copy, name in (("best/1.png", "all/1.png"), ("only/2.png", "all/2.png")):
        (tmp_path / "photos" / copy).parent.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "photos" / name, tmp_path / "photos" / copy)
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER)
    gallery.sync(tmp_path / "photos")
    if by_index:
        gallery._snapshot = snapshot.Snapshot(gallery._snapshot.store, hold_vectors=False)
        gallery._snapshot.store.nearest = _exact(gallery._snapshot.store.nearest)
    assert len(gallery) == 3 and gallery.labels() == {"all": 2, "best": 2, "only": 1}
    for query, options, names in (
        (0, {}, ["all/1.png", "all/2.png", "best/3.png"]),
        (0, {"folder": "best"}, ["best/1.png", "best/3.png"]),
        (1, {"labels": ["only"]}, ["only/2.png"]),
        (1, {"labels": ["only", "best"]}, ["only/2.png", "best/1.png", "best/3.png"]),
    ):
        found = [one.picture.path for one in gallery.search(feature(query), 9, **options)[0]]
        wanted = [f"{tmp_path}/photos/{name}" for name in names]
        assert found[0] == wanted[0] and sorted(found) == sorted(wanted)


def test_a_second_folder_leaves_the_first_alone_and_a_sub_folder_is_its_own_root(gallery, folder):
    save(folder.parent / "others/photos/x.png", 50)
    assert gallery.sync(folder.parent / "others").added == 1
    assert len(gallery) == len(NAMES) + 1
    assert gallery.sync(folder / "cats") == (0, 0, 0, 3, (), 0, ())
    assert gallery.labels()["wild"] == 1 and "cats" not in gallery.labels()
    assert gallery.sync(folder).unchanged == len(NAMES)
    assert gallery.labels()["cats"] == 2


def test_add_and_delete(gallery, folder, tmp_path):
    save(tmp_path / "alone/h.png", 60)
    changes = gallery.add([tmp_path / "alone/h.png", tmp_path / "none.png"])
    assert changes.added == 1 and changes.failed == (
        f"{tmp_path}/none.png is not a file that can be read",
    )
    (match,) = gallery.search(feature(60), 1)[0]
    assert match.picture.path == str(tmp_path / "alone/h.png") and match.picture.label is None
    gallery.delete([match.picture.id])
    assert listed(gallery) == sorted(NAMES)
    for method in (gallery.get, gallery.thumbnail, lambda x: gallery.delete([x])):
        with pytest.raises(ValueError, match=f"id='{match.picture.id}' is not in .*; it may"):
            method(match.picture.id)


@pytest.mark.parametrize("gone", [False, True])
def test_an_empty_or_absent_folder_deletes_nothing(gallery, folder, gone):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    if gone:
        folder.rmdir()
    with pytest.raises(FileNotFoundError, match="; name "):
        gallery.sync(folder)
    assert len(gallery) == len(NAMES)


def test_what_lies_in_a_folder_that_cannot_be_listed_stays(gallery, folder, monkeypatch):
    scandir = os.scandir

    def closed(path):
        if str(path).endswith("/cats"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    changes = gallery.sync(folder)
    assert changes[:4] == (0, 0, 0, 3)
    assert changes.failed == (
        f"{folder}/cats cannot be read; change its permissions, or check its disk",
    )
    assert listed(gallery) == sorted(NAMES)


def test_what_cannot_be_looked_at_stays(gallery, folder, monkeypatch):
    look = pathlib.Path.stat

    def failing(path, **options):
        if path.name == "a.png":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return look(path, **options)

    monkeypatch.setattr(pathlib.Path, "stat", failing)
    changes = gallery.sync(folder)
    assert changes[:4] == (0, 0, 0, 5)
    assert changes.failed == (
        f"{folder}/cats/a.png cannot be read; change its permissions, or check its disk",
    )
    assert gallery.add([folder / "cats/a.png"]).failed[0].startswith(f"{folder}/cats/a.png is not")
    monkeypatch.undo()
    assert listed(gallery) == sorted(NAMES)


def test_a_file_that_is_back_when_the_others_are_written_stays(gallery, folder, monkeypatch):
    shutil.move(folder / "e.png", folder.parent / "e.png")
    write = synchroniser.Synchroniser.write

    def slow(writer, files):
        write(writer, files)
        shutil.move(folder.parent / "e.png", folder / "e.png")

    monkeypatch.setattr(synchroniser.Synchroniser, "write", slow)
    assert gallery.sync(folder).deleted == 0
    assert listed(gallery) == sorted(NAMES)


def test_vectors_are_read_when_they_are_searched(gallery, folder, monkeypatch):
    def refused(table, *rows):
        raise AssertionError("vectors were read")

    for name in ("vectors", "all_vectors"):
        monkeypatch.setattr(store.Store, name, refused)
    again = Gallery.open(gallery.uri, EMBEDDER)
    save(folder / "g.png", 50)
    assert again.sync(folder).added == 1 and len(again) == len(NAMES) + 1
    with pytest.raises(AssertionError, match="vectors were read"):
        again.search(feature(50), 1)
    monkeypatch.undo()
    assert again.search(feature(50), 1)[0][0].picture.path == f"{folder}/g.png"
    save(folder / "h.png", 51)
    again.sync(folder)  # one that was searched has them at hand before it is searched again
    assert len(again._snapshot._vectors) == len(NAMES) + 2


def test_a_gallery_made_again_of_other_features_is_noticed(gallery, folder):
    other = EMBEDDER._replace(digest="another")
    shutil.rmtree(gallery.uri)
    Gallery.create(gallery.uri, other).sync(folder)
    for method in (gallery.refresh, lambda: gallery.sync(folder)):
        with pytest.raises(
            ValueError, match=r"has been made again .* network another; open it again"
        ):
            method()


@pytest.mark.parametrize("dimensions", [0, 3])
def test_a_gallery_made_again_of_the_same_features_takes_its_place(folder, tmp_path, dimensions):
    # As many commits as before: numbers of versions do not tell them apart.
    uri = tmp_path / "gallery"
    Gallery.create(uri, EMBEDDER, dimensions=dimensions).sync(folder)
    reader = Gallery.open(uri, EMBEDDER)
    reader.search(feature(1), 2)
    first = reader.made
    shutil.rmtree(uri)
    (folder / NAMES[0]).unlink()
    for seed in (60, 61):
        save(folder / f"{seed}.png", seed)
    Gallery.create(uri, EMBEDDER, dimensions=dimensions).sync(folder)
    reader.refresh()
    assert reader.made != first
    fresh = Gallery.open(uri, EMBEDDER)
    assert listed(reader) == listed(fresh) == sorted([*NAMES[1:], "60.png", "61.png"])
    for seed in (1, 60):
        found, wanted = (one.search(feature(seed), len(fresh))[0] for one in (reader, fresh))
        assert found == wanted
        assert reader.thumbnail(found[0].picture.id)


def bomb(path):
    """A PNG that says it is 60,000 pixels wide and high."""
    Image.new("L", (1, 1)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    path.write_bytes(content)


def test_hostile_files_are_named_and_stop_nothing(gallery, folder):
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("Dear diary")
    (folder / "half.png").write_bytes((folder / NAMES[0]).read_bytes()[:90])
    bomb(folder / "bomb.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "link.png").symlink_to(folder / "nowhere.png")
    (folder / "loop").symlink_to(folder)
    (folder / ".hidden").mkdir()
    save(folder / ".hidden/x.png", 9)
    with pathlib.Path(os.fsdecode(bytes(folder) + b"/\xff.png")).open("wb") as file:
        picture(7).save(file, "PNG")
    save(folder / "good.png", 8)
    (folder / NAMES[1]).write_text("no JPEG any more")
    changes = gallery.sync(folder)
    assert changes[:4] == (1, 0, 1, len(NAMES) - 1)
    named = [line.split(" ")[0].removesuffix(":").rpartition("/")[2] for line in changes.failed]
    assert named == sorted(
        [*["b.jpg", "text.jpg", "half.png", "empty.png", "bomb.png", r"\xff.png"]], key=named.index
    )
    assert len(named) == 6 and all("; " in line for line in changes.failed)
    assert listed(gallery) == sorted({*NAMES, "good.png"} - {NAMES[1]})


def test_a_picture_that_vanishes_while_it_is_read(gallery, folder, monkeypatch):
    for name in ("cats/new1.png", "cats/new2.png"):
        save(folder / name, name.__hash__() % 1000 + 1000)
    (folder / NAMES[0]).write_bytes((folder / "cats/new1.png").read_bytes() + b" ")
    read = crawl._read

    def vanishing(file, is_known):
        if file.path.endswith(("new1.png", NAMES[0])):
            pathlib.Path(file.path).unlink()
        return read(file, is_known)

    monkeypatch.setattr(crawl, "_read", vanishing)
    changes = gallery.sync(folder)
    assert changes[:4] == (1, 0, 0, len(NAMES) - 1)
    assert len(changes.failed) == 2 and all("vanished" in line for line in changes.failed)
    assert listed(gallery) == sorted({*NAMES, "cats/new2.png"})
    assert gallery.sync(folder).deleted == 1  # it is not there
    assert listed(gallery) == sorted({*NAMES, "cats/new2.png"} - {NAMES[0]})


def test_a_picture_that_is_written_to_while_it_is_read(gallery, folder, monkeypatch):
    save(folder / "new.png", 30)
    decode = crawl.decode_shrunk

    def slow(opened, where, **options):
        decoded = decode(opened, where, **options)
        os.utime(where, ns=(0, 0))
        return decoded

    with monkeypatch.context() as patch:
        patch.setattr(crawl, "decode_shrunk", slow)
        changes = gallery.sync(folder)
    assert changes.added == 0 and "was written to while it was read" in changes.failed[0]
    assert gallery.sync(folder).added == 1


@pytest.mark.parametrize("other", [{"digest": "fedcba9876543210"}, {"layer": "L7"}])
def test_features_of_another_model_are_refused(gallery, other):
    with pytest.raises(ValueError) as caught:
        Gallery.open(gallery.uri, EMBEDDER._replace(**other))
    line = str(caught.value)
    for word in (
        gallery.uri,
        "L6+L7",
        EMBEDDER.digest[:12],
        *(value[:12] for value in other.values()),
        "; name the checkpoint",
    ):
        assert word in line
    assert "\n" not in line


def test_what_is_refused(gallery, folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere holds no gallery; make one"):
        Gallery.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(FileExistsError, match=r"holds a gallery; open it"):
        Gallery.create(gallery.uri, EMBEDDER)
    with pytest.raises(ValueError, match="opened without an embedder"):
        Gallery.open(gallery.uri).sync(folder)
    with pytest.raises(ValueError, match="dimensions=48 must be less than the 48"):
        Gallery.create(tmp_path / "new", EMBEDDER, dimensions=D)
    with pytest.raises(ValueError, match="dtype='int8' is unknown"):
        Gallery.create(tmp_path / "new", EMBEDDER, dtype="int8")
    with pytest.raises(ValueError, match=r"expected \[q, 48\]"):
        gallery.search(np.zeros((1, 3), np.float32), 1)
    with pytest.raises(ValueError, match="k is 0"):
        gallery.search(feature(0), 0)
    with pytest.raises(ValueError, match=r"label='cat' is not in .* choose one of cats, dogs"):
        gallery.search(feature(0), 1, labels=["cat"])
    (tmp_path / "flat").mkdir()
    save(tmp_path / "flat" / "a.png", 1)
    flat = Gallery.create(tmp_path / "of_flat", EMBEDDER)
    flat.sync(tmp_path / "flat")
    with pytest.raises(ValueError, match=r"label='cat' is not in .*; no picture of it has a label"):
        flat.search(feature(0), 1, labels=["cat"])
    with pytest.raises(ValueError, match="folder='dog' holds no picture"):
        gallery.search(feature(0), 1, folder="dog")
    (tmp_path / "gallery/pictures.lance/_versions").rename(tmp_path / "gone")
    with pytest.raises((ValueError, OSError), match=gallery.uri):
        Gallery.open(gallery.uri)


# --- Search


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A gallery of 97 rows: few values and so many ties, labels and folders of all sizes, two copies."""
    uri = tmp_path_factory.mktemp("many") / "gallery"
    made = Gallery.create(uri, EMBEDDER)
    return fill(made, 97), uri


def fill(gallery, n, seed=0):
    rng = np.random.default_rng(seed)
    table = gallery._snapshot.store.latest()
    vectors = rng.integers(-2, 3, (n, gallery.config.dimensions)).astype(np.float32)
    folders = ["", "a", "a/b", "a-b", "a/b/c", "d's"]
    where = np.minimum(rng.geometric(0.4, n) - 1, len(folders) - 1)
    ids = [f"{i:064x}" for i in range(n)]
    ids[-2:] = ids[:2]  # the last two rows are further paths of the first two
    vectors[-2:] = vectors[:2]
    rows = {
        "path": [f"/{folders[where[i]]}/{i:05d}.png" for i in rng.permutation(n - 2)]
        + ["/~/1", "/~/2"],
        "id": ids,
        "label": [folders[j].rpartition("/")[2] or None for j in where],
        "folder": [folders[j] for j in where],
        **{name: [1] * n for name in ("bytes", "mtime_ns", "width", "height")},
        "thumbnail": [b"x"] * n,
    }
    for start in range(0, n, 40):
        part = slice(start, start + 40)
        table.put({name: x[part] for name, x in rows.items()}, vectors[part])
    gallery.refresh()
    return vectors, rows


def brute_force(vectors, rows, query, k, labels, folder):
    """(distance, id, path) of the nearest, in float64; equal distances in order of first paths, and each
    picture once, by the first of its paths that passes.
    """
    squares = ((vectors.astype(np.float64) - query) ** 2).sum(axis=1)
    first, passing = {}, {}
    for i in sorted(range(len(vectors)), key=rows["path"].__getitem__):
        first.setdefault(rows["id"][i], rows["path"][i])
        if (not labels or rows["label"][i] in labels) and (
            not folder or f"{rows['folder'][i]}/".startswith(f"{folder.rstrip('/')}/")
        ):
            passing.setdefault(rows["id"][i], (squares[i], rows["path"][i]))
    chosen = sorted(passing, key=lambda key: (passing[key][0], first[key]))
    return [(np.float32(passing[key][0] ** 0.5), key, passing[key][1]) for key in chosen[:k]]


@hypothesis.given(
    seed=st.integers(0, 99),
    k=st.sampled_from([3, 120]),
    labels=st.sets(st.sampled_from(["a", "b", "a-b", "c", "d's"]), max_size=3),
    folder=st.sampled_from([None, "", "a", "a/", "a/b", "d's"]),
    indexed=st.booleans(),
)
@hypothesis.example(seed=0, k=120, labels=set(), folder="a", indexed=False)  # not "a-b"
@hypothesis.example(seed=0, k=120, labels=set(), folder="a/", indexed=True)
@hypothesis.settings(max_examples=20, derandomize=True)
def test_search_equals_brute_force_under_any_filter(many, seed, k, labels, folder, indexed):
    (vectors, rows), uri = many
    gallery = _opened(uri, indexed)
    queries = np.random.default_rng(seed).integers(-2, 3, (2, D)).astype(np.float32)
    found = gallery.search(queries, k, labels=tuple(labels), folder=folder)
    for query, matches in zip(queries, found, strict=True):
        wanted = brute_force(vectors, rows, query, k, labels, folder)
        got = [
            (np.float32(match.distance), match.picture.id, match.picture.path) for match in matches
        ]
        assert [distance for distance, *_ in got] == [distance for distance, *_ in wanted]
        if indexed:  # the store breaks ties by itself
            wanted, got = (
                {one for one in found if one[0] < wanted[-1][0]} if wanted else set()
                for found in (wanted, got)
            )
        assert got == wanted


_galleries = {}


def _opened(uri, indexed):
    """With an index that is never used, for every search has a filter or looks at all rows."""
    if indexed not in _galleries:
        _galleries[indexed] = Gallery.open(uri)
        if indexed:
            listed = snapshot.Snapshot(_galleries[indexed]._snapshot.store, hold_vectors=False)
            listed.store.nearest = _exact(listed.store.nearest)
            _galleries[indexed]._snapshot = listed
    return _galleries[indexed]


def _exact(nearest):
    return lambda vector, k, where, exact: nearest(vector, k, where=where, exact=True)


def test_vectors_and_samples(many):
    (vectors, rows), uri = many
    for gallery in (_opened(uri, False), _opened(uri, True)):
        ids = [rows["id"][i] for i in (5, 80, 5, 0)]
        np.testing.assert_array_equal(gallery.vectors(ids), vectors[[5, 80, 5, 0]])
        some = gallery.sample(20, seed=3)
        assert some.shape == (20, D) and len(np.unique(some, axis=0)) == 20
        np.testing.assert_array_equal(some, gallery.sample(20, seed=3))
        assert len(gallery.sample(1000, seed=0)) == len(gallery) == 95
        assert {row.tobytes() for row in gallery.sample(1000, seed=0)} == {
            row.tobytes() for row in vectors
        }


def test_an_empty_gallery(tmp_path):
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER)
    assert gallery.search(feature(0), 3) == [[]] and len(gallery) == 0
    assert gallery.labels() == {} and gallery.sample(3, seed=0).shape == (0, D)


@pytest.mark.slow
def test_an_index_is_built_by_size_told_and_kept_up(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery_module, "NUM_QUERIES", 40)
    lines = []
    monkeypatch.setattr(gallery_module, "INDEXED_FROM", 300)
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER)
    rng = np.random.default_rng(0)
    vectors, rows = fill(gallery, 402)
    save(tmp_path / "photos/a.png", 1)
    assert gallery.sync(tmp_path / "photos", report=lines.append).added == 1
    (line,) = lines
    assert line.startswith("recall@10 of the index against exact search: ")
    assert float(line.split(": ")[1].split(" ")[0]) > 0.8
    assert line.endswith("(40 pictures as queries, 403 to find)")
    assert gallery.search(feature(1), 1)[0][0].picture.path.endswith("/photos/a.png")
    assert gallery._snapshot._vectors is None
    together = Gallery.open(gallery.uri, sharded=True)  # exact, whatever the size
    assert together.search(feature(1), 1)[0][0].picture.path.endswith("/photos/a.png")
    assert len(together._snapshot._vectors) == len(together)
    queries = vectors[:20] + 0.1 * rng.standard_normal((20, D)).astype(np.float32)
    found = gallery.search(queries, 5)
    assert sum(matches[0].picture.id == rows["id"][i] for i, matches in enumerate(found)) >= 18
    save(tmp_path / "photos/b.png", 2)
    assert gallery.sync(tmp_path / "photos", report=lines.append).added == 1
    assert len(lines) == 1
    assert gallery.search(feature(2), 1)[0][0].picture.path.endswith("/photos/b.png")


# --- Reduced vectors


def test_reduced_vectors(tmp_path):
    for seed in range(30):
        save(tmp_path / "photos" / f"{seed:02d}.png", seed)
    lines = []
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER, dimensions=12, dtype="float16")
    with pytest.raises(ValueError, match="holds no picture yet"):
        gallery.project(feature(0))
    (tmp_path / "photos/broken.png").touch()
    assert gallery.sync(tmp_path / "photos", report=lines.append)[:4] == (30, 0, 0, 0)
    (line,) = lines
    assert line.startswith("recall@10 of 12 dimensions, float16, against all 48: ")
    again = Gallery.open(gallery.uri, EMBEDDER)
    for seed in range(0, 30, 7):
        (match,) = again.search(feature(seed), 1)[0]
        assert match.picture.path.endswith(f"/{seed:02d}.png") and match.distance < 0.05
    stored = again.vectors([match.picture.id])
    assert stored.shape == (1, 12) and stored.dtype == np.float32
    assert again.config[3:6] == (48, 12, "float16")
    save(tmp_path / "photos/new.png", 99)
    assert again.sync(tmp_path / "photos", report=lines.append).added == 1 and len(lines) == 1


def test_too_few_pictures_to_reduce(gallery, folder, tmp_path):
    small = Gallery.create(tmp_path / "small", EMBEDDER, dimensions=6)
    with pytest.raises(ValueError, match="dimensions=6 cannot be learned from 6 pictures"):
        small.sync(folder)
    assert small.add([]).added == len(small) == 0


def test_a_projection_from_part_of_the_pictures_is_judged_by_others(tmp_path, monkeypatch):
    for seed in range(48):
        save(tmp_path / "photos" / f"{seed:02d}.png", seed)
    monkeypatch.setattr(synchroniser, "LEARN_FROM", 24)
    lines = []
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER, dimensions=8)
    assert gallery.sync(tmp_path / "photos", report=lines.append).added == 48
    assert lines[0].endswith("(3 pictures as queries, 3 to find)")
    assert len(gallery) == 48


# --- Several processes, sudden ends, full disks


def indexer(folder, gallery, batches):
    """Starts a process that stores so many batches, and goes on when it is sent a line; waits for them."""
    before = len(gallery)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.retrieval.gallery_member", folder, gallery.uri, str(batches)],
        cwd=ROOT, text=True, env=dict(os.environ, JAX_PLATFORMS="cpu"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    end = time.monotonic() + 300
    while len(gallery) < before + batches * BATCH:
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.05)
        gallery.refresh()
    return process


@pytest.mark.slow
def test_killed_in_the_middle_then_two_at_once(tmp_path, monkeypatch):
    total = 16 * BATCH
    for seed in range(total):
        save(tmp_path / "photos" / f"{seed}.png", seed)
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER)
    victim = indexer(tmp_path / "photos", gallery, 2)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    gallery.refresh()
    assert len(listed(gallery)) == 2 * BATCH
    other = indexer(tmp_path / "photos", gallery, 1)

    def both(photos):  # a batch each: let go at once, a quick one leaves a slow one nothing
        other.stdin.write("\n")
        other.stdin.flush()
        return coarse(photos)

    monkeypatch.setattr(synchroniser, "COMMIT_EVERY", BATCH)
    with other:
        second = Gallery.open(gallery.uri, EMBEDDER._replace(embed_photos=both))
        mine = second.sync(tmp_path / "photos")
        other.stdin.close()
        told = other.stdout.read(), other.stderr.read()
    assert other.returncode == 0, told
    theirs = json.loads(told[0])
    assert not theirs["failed"] and not mine.failed and theirs["added"] and mine.added
    gallery.refresh()
    assert len(listed(gallery)) == len(gallery._snapshot.store) == total
    # What both embedded at once is counted by the one that stored it first.
    assert theirs["added"] + mine.added == total - 2 * BATCH
    assert gallery.sync(tmp_path / "photos") == (0, 0, 0, total, (), 0, ())


def test_two_commits_of_one_path_at_the_same_moment_make_one_row(tmp_path):
    Gallery.create(tmp_path / "gallery", EMBEDDER)
    tables = [store.open_store(str(tmp_path / "gallery")) for _ in range(2)]
    together = threading.Barrier(2)

    def write(table):
        for step in range(4):
            rows = {name: [str(step)] for name in ("path", "id", "label", "folder")}
            rows |= {name: [1] for name in ("bytes", "mtime_ns", "width", "height")}
            together.wait(60)
            table.put(rows | {"thumbnail": [b""]}, np.zeros((1, D), np.float32))

    threads = [threading.Thread(target=write, args=(table,)) for table in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tables[0].latest()) == 4


def test_readers_go_on_while_it_grows(gallery, folder):
    stop, errors = threading.Event(), []

    def reader():
        while not stop.is_set():
            try:
                matches = gallery.search(feature(0), 3)[0]
                assert matches[0].picture.path == str(folder / NAMES[0])
                assert gallery.thumbnail(matches[0].picture.id)
            except Exception as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=reader) for _ in range(3)]
    for thread in threads:
        thread.start()
    for step in range(4):
        save(folder / f"more/{step}.png", 200 + step)
        gallery.sync(folder)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors and len(gallery) == len(NAMES) + 4


def test_a_reader_of_a_version_that_was_tidied_away(gallery, folder, monkeypatch):
    reader = Gallery.open(gallery.uri)
    key = reader.search(feature(0), 1)[0][0].picture.id
    monkeypatch.setattr(store, "RETENTION", store.timedelta(milliseconds=1))
    monkeypatch.setattr(store, "SMALL_FRAGMENTS", 1)
    save(folder / "new.png", 300)
    before = gallery._snapshot.store.version
    gallery.sync(folder)
    assert gallery._snapshot.store.version > before + 1
    assert reader.thumbnail(key).startswith(b"\xff\xd8")


def test_a_full_disk(small_disk, tmp_path, monkeypatch):
    disk = small_disk(1)
    gallery = Gallery.create(disk / "gallery", EMBEDDER)
    rng = np.random.default_rng(0)
    for i in range(160):  # thumbnails of noise: about 10 kB each
        noise = rng.integers(0, 256, (128, 128, 3), np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / f"photos/{i}.bmp")
    monkeypatch.setattr(synchroniser, "COMMIT_EVERY", 16)
    with pytest.raises(OSError) as caught:
        gallery.sync(tmp_path / "photos")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == gallery.uri
    again = Gallery.open(gallery.uri, EMBEDDER)
    kept = listed(again)
    assert 0 < len(kept) < 160 and len(kept) % 16 == 0
    for path in list((tmp_path / "photos").iterdir())[16:]:
        path.unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
    assert again.sync(tmp_path / "photos").unchanged <= 16
    assert len(again) == 16


def test_an_object_store(folder):
    gallery = Gallery.create("memory://gallery", EMBEDDER)
    assert gallery.sync(folder).added == len(NAMES)
    assert gallery.sync(folder).unchanged == len(NAMES)
    assert listed(gallery) == sorted(NAMES)


def test_much_is_held_in_a_file(many, monkeypatch):
    (vectors, rows), uri = many
    monkeypatch.setattr(snapshot, "IN_MEMORY", 100)
    found = Gallery.open(uri).search(vectors[:5], 1)
    assert [matches[0].picture.id for matches in found] == rows["id"][:5]
