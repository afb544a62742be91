"""What a sync keeps, forgets and says: disks that are off, folders that are gone, links, odd names and dates."""

import os
import shutil
import unicodedata

import numpy as np
import pytest

from dsf_jax.data import picture_formats
from dsf_jax.gallery import crawl as crawl_module
from dsf_jax.gallery import snapshot, sync
from dsf_jax.gallery.crawl import crawl, storable_time
from dsf_jax.gallery.gallery import Gallery
from tests.retrieval.gallery_member import EMBEDDER, D, save

NAMES = ("here/a.png", "here/b.png", "nas/c.png", "nas/2020/d.png", "nas/2021/e.png")


@pytest.fixture
def folder(tmp_path):
    for seed, name in enumerate(NAMES):
        save(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


@pytest.fixture
def gallery(folder, tmp_path):
    made = Gallery.create(tmp_path / "gallery", EMBEDDER)
    assert made.sync(folder).added == len(NAMES)
    return made


def all_of(store, where):
    """Rows of a store, to be put again."""
    return store.columns(store._pictures.schema.names, where=where).drop(["_rowid"]).to_pydict()


def found(gallery, **filters):
    (neighbours,) = gallery.nearest(np.zeros((1, D), np.float32), 99, **filters)
    return sorted(neighbour.picture.path for neighbour in neighbours)


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "a note", "an empty sub-folder"])
def test_a_sub_folder_whose_disk_is_off_keeps_its_rows(gallery, folder, tmp_path, left):
    (folder / "nas").rename(tmp_path / "off")
    if left != "nothing":
        (folder / "nas").mkdir()
    if left == "a note":
        (folder / "nas/NOT MOUNTED.txt").touch()
    if left == "an empty sub-folder":
        (folder / "nas/2020").mkdir()
    changes = gallery.sync(folder)
    assert changes[:4] == (0, 0, 0, 2) and changes.absent == ((f"{folder}/nas", 3),)
    assert len(gallery) == len(NAMES)
    if left != "nothing":
        shutil.rmtree(folder / "nas")
    (tmp_path / "off").rename(folder / "nas")
    assert gallery.sync(folder) == (0, 0, 0, len(NAMES), (), 0, ())


def test_prune_forgets_what_is_off(gallery, folder):
    shutil.rmtree(folder / "nas")
    assert gallery.sync(folder).absent and len(gallery) == len(NAMES)
    changes = gallery.sync(folder, prune=True)
    assert (changes.deleted, changes.absent) == (3, ())
    assert found(gallery) == [f"{folder}/here/a.png", f"{folder}/here/b.png"]


def test_a_part_of_a_disk_is_named_by_its_uppermost_folder_without_pictures(gallery, folder):
    shutil.rmtree(folder / "nas/2020")
    (folder / "nas/2021/e.png").unlink()
    changes = gallery.sync(folder)
    assert changes.absent == ((f"{folder}/nas/2020", 1), (f"{folder}/nas/2021", 1))
    assert changes.deleted == 0


def test_what_was_moved_out_of_a_folder_is_not_kept_twice(gallery, folder):
    (folder / "nas").rename(folder / "disk")
    changes = gallery.sync(folder)
    assert (changes.added, changes.deleted, changes.reused, changes.absent) == (3, 3, 3, ())


def test_a_link_to_a_folder_elsewhere_is_followed_and_its_pictures_stay_while_it_leads_nowhere(
    gallery, folder, tmp_path
):
    save(tmp_path / "elsewhere/deep/x.png", 50)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(tmp_path)
    assert gallery.sync(folder).added == 1
    assert found(gallery, labels=["deep"]) == [f"{folder}/link/deep/x.png"]
    assert found(gallery, folder="link") == found(gallery, labels=["deep"])
    (tmp_path / "elsewhere").rename(tmp_path / "off")
    changes = gallery.sync(folder)
    assert changes.deleted == 0 and changes.absent == ((f"{folder}/link", 1),)


def test_thumbnails_of_a_network_disk_that_an_earlier_version_indexed_go(gallery, folder):
    save(folder / "here/thumbs/SYNOPHOTO_THUMB_XL.png", 60)
    gallery.sync(folder)
    store = gallery._snapshot.store
    save(folder / "here/@eaDir/x.png", 61)
    rows = all_of(store, "folder = 'here/thumbs'")
    vectors = np.array(rows.pop("vector"), np.float32)
    rows["path"] = [f"{folder}/here/@eaDir/x.png"]
    store.put(rows, vectors)
    (folder / "here/thumbs/SYNOPHOTO_THUMB_XL.png").unlink()
    gallery.sync(folder, prune=True)
    assert len(gallery) == len(NAMES) and not any("@eaDir" in path for path in found(gallery))


@pytest.mark.parametrize("by", ["path", "link", "relative", "NFD"])
def test_a_folder_that_is_gone_is_removed(gallery, folder, tmp_path, monkeypatch, by):
    save(tmp_path / "photos-2/über/f.png", 30)
    gallery.sync(tmp_path / "photos-2")
    if by == "NFD":
        shutil.rmtree(tmp_path / "photos-2")
        assert gallery.remove(unicodedata.normalize("NFD", f"{tmp_path}/photos-2/über")) == 1
        assert len(gallery) == len(NAMES)
        return
    shutil.rmtree(folder)
    name = str(folder)
    if by == "link":
        (tmp_path / "link").symlink_to(tmp_path)
        name = tmp_path / "link/photos"
    if by == "relative":
        monkeypatch.chdir(tmp_path)
        name = "photos/"
    assert gallery.remove(name) == len(NAMES)
    assert found(gallery) == [f"{tmp_path}/photos-2/über/f.png"]
    assert gallery.remove(name) == 0 and len(gallery) == 1


def test_one_file_is_removed_by_its_path(gallery, folder):
    assert gallery.remove(folder / "here/a.png") == 1 and len(gallery) == len(NAMES) - 1


def test_folders_and_copies_are_told(gallery, folder, tmp_path):
    shutil.copytree(folder / "here", tmp_path / "copies")
    shutil.copy(folder / "here/a.png", folder / "top.png")
    gallery.sync(folder)
    gallery.sync(tmp_path / "copies")
    contents = gallery.contents()
    assert contents.files == 8 and contents.extra == 3 and len(gallery) == 5
    assert contents.folders == {str(tmp_path / "copies"): 2, str(folder): 6}
    names = [[path.removeprefix(f"{tmp_path}/") for path in paths] for paths in contents.copies]
    assert names == [
        ["copies/a.png", "photos/here/a.png", "photos/top.png"],
        ["copies/b.png", "photos/here/b.png"],
    ]


SECONDS = [-(10**10), -1, 0, 9_223_372_036, 9_223_372_037, 10_413_792_000, 15_000_000_000]


@pytest.mark.parametrize("seconds", SECONDS)
def test_a_file_of_any_date_is_stored_and_known_again(gallery, folder, seconds):
    try:
        os.utime(folder / "here/a.png", (seconds, seconds))
    except OSError:
        pytest.skip("the file system has no such date")
    assert gallery.sync(folder)[:5] == (0, 0, 0, len(NAMES), ())
    before = gallery._snapshot
    assert gallery.sync(folder).unchanged == len(NAMES) and gallery._snapshot is before


def test_dates_are_told_apart_in_64_bits():
    times = [10**9 * seconds + 1 for seconds in SECONDS]
    stored = [storable_time(time) for time in times]
    assert len(set(stored)) == len(stored) and all(-(2**63) <= time < 2**63 for time in stored)
    assert stored[1:4] == times[1:4]


# --- Names in two forms


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
@pytest.mark.parametrize("by_index", [False, True])
def test_a_name_is_found_in_either_form(tmp_path, on_disk, asked, by_index):
    name, other = (unicodedata.normalize(form, "café/été") for form in (on_disk, asked))
    save(tmp_path / "photos" / name / "a.png", 1)
    save(tmp_path / "photos/other/b.png", 2)
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER)
    gallery.sync(tmp_path / "photos")
    assert list(gallery.labels()) == ["other", unicodedata.normalize("NFC", "été")]
    if by_index:
        gallery._snapshot = snapshot.Snapshot(gallery._snapshot.store, hold_vectors=False)
    own = [str(tmp_path / "photos" / name / "a.png")]
    label, folder = other.partition("/")[2], other.partition("/")[0]
    for filters in ({"labels": [label]}, {"folder": folder}, {"folder": other}):
        assert found(gallery, **filters) == own
    assert crawl(tmp_path / "photos").files[0].path == own[0]  # as it is on disk


@pytest.mark.parametrize("by_index", [False, True])
def test_rows_of_an_earlier_version_are_found_and_brought_to_one_form(tmp_path, by_index):
    name = unicodedata.normalize("NFD", "café")
    save(tmp_path / "photos" / name / "a.png", 1)
    save(tmp_path / "photos/other/b.png", 2)
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER)
    gallery.sync(tmp_path / "photos")
    store = gallery._snapshot.store.latest()
    rows = all_of(store, "label = 'café'")
    vectors = np.array(rows.pop("vector"), np.float32)
    store.put(rows | {"label": [name], "folder": [name]}, vectors)
    gallery.refresh()
    assert gallery.labels() == {"café": 1, "other": 1}
    before = gallery._snapshot
    if by_index:
        gallery._snapshot = snapshot.Snapshot(before.store, hold_vectors=False)
    for filters in ({"labels": ["café"]}, {"folder": "café"}, {"labels": [name], "folder": name}):
        assert found(gallery, **filters) == [str(tmp_path / "photos" / name / "a.png")]
    gallery._snapshot = before
    assert gallery.sync(tmp_path / "photos")[:4] == (0, 0, 0, 2)
    stored = gallery._snapshot.store.columns(["label", "folder"]).to_pydict()
    assert sorted(stored["label"]) == sorted(stored["folder"]) == ["café", "other"]


def test_what_is_excluded_leaves_the_gallery_and_comes_back(gallery, folder):
    without = gallery.sync(crawl(folder, exclude=["nas", "b.*"]))
    assert (without.deleted, without.unchanged, without.absent) == (4, 1, ())
    assert found(gallery) == [f"{folder}/here/a.png"]
    assert gallery.sync(folder).added == 4


def test_a_picture_whose_library_is_absent_keeps_its_row(gallery, folder, monkeypatch):
    monkeypatch.setattr(picture_formats.importlib.util, "find_spec", lambda name: None)
    (folder / "here/a.png").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    changes = gallery.sync(folder)
    assert changes.deleted == 0 and len(gallery) == len(NAMES)
    (line,) = changes.failed
    assert line.startswith(
        f"{folder}/here/a.png is of the format HEIF, which is not read here; run"
    )


@pytest.mark.parametrize("prune", [False, True])
def test_files_that_hold_no_picture_any_more_go_whatever_their_suffix(gallery, folder, prune):
    """What is known by its content is not listed again once that is text."""
    for seed, name in enumerate(("notes.dat", "without", "h.png"), 50):
        save(folder / "here" / f"{name}.png", seed)
        (folder / "here" / f"{name}.png").rename(folder / "here" / name)
    assert gallery.sync(folder).added == 3
    for name in ("notes.dat", "without", "h.png"):
        (folder / "here" / name).write_text("text")
    changes = gallery.sync(folder, prune=prune)
    assert changes.deleted == 3
    assert len(changes.failed) == 1 and "h.png" in changes.failed[0]
    assert found(gallery) == sorted(f"{folder}/{name}" for name in NAMES)


def test_a_folder_that_is_read_by_another_link_leaves_no_old_picture(gallery, folder, tmp_path):
    save(tmp_path / "elsewhere/x.png", 60)
    (folder / "second").symlink_to(tmp_path / "elsewhere")
    gallery.sync(folder)
    (folder / "first").symlink_to(tmp_path / "elsewhere")
    save(tmp_path / "elsewhere/x.png", 61)
    changes = gallery.sync(folder)
    assert (changes.added, changes.deleted, changes.absent) == (1, 1, ())
    assert found(gallery) == sorted(f"{folder}/{name}" for name in ("first/x.png", *NAMES))


def test_a_link_that_leads_to_itself_is_one_that_leads_nowhere(gallery, folder, tmp_path):
    """Its pictures stayed for ever, pruned or not, and nothing was said of them."""
    save(tmp_path / "elsewhere/x.png", 50)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    gallery.sync(folder)
    (folder / "link").unlink()
    (folder / "link").symlink_to(folder / "link")
    changes = gallery.sync(folder)
    assert changes.deleted == 0 and changes.absent == ((f"{folder}/link", 1),)
    assert gallery.sync(folder, prune=True).deleted == 1 and len(gallery) == len(NAMES)


@pytest.fixture
def one_case(monkeypatch):
    """Disks that take upper and lower case for one, as those of macOS and Windows, and forms of Unicode."""

    def folded(name):
        return unicodedata.normalize("NFC", str(name)).casefold()

    def stat_file(path, root):
        there = {folded(file): file for file in root.rglob("*")}
        return crawl_module.stat_file(there.get(folded(path), path), root)

    monkeypatch.setattr(sync, "stat_file", stat_file)


@pytest.mark.parametrize(
    "before, after",
    [
        ("here/a.png", "here/A.PNG"),
        ("here", "Here"),
        ("here", unicodedata.normalize("NFD", "hére")),
    ],
)
def test_a_name_of_another_case_is_another_name(gallery, folder, one_case, before, after):
    """The disk answers for the old name too, whose row stayed: a copy, and a ghost when the file changed."""
    if after.isascii():
        (folder / before).rename(folder / after)
    else:
        (folder / before).rename(folder / unicodedata.normalize("NFC", after))
        gallery.sync(folder)
        (folder / unicodedata.normalize("NFC", after)).rename(folder / after)
    changes = gallery.sync(folder)
    assert changes.added == changes.reused == changes.deleted > 0 and changes.absent == ()
    assert found(gallery) == sorted(str(file) for file in folder.rglob("*.*"))
    assert gallery.contents().extra == 0


@pytest.mark.parametrize("name", ["~nobody at all/x", "loop"])
def test_paths_that_lead_nowhere_are_named(gallery, tmp_path, monkeypatch, name):
    """They ended commands by a traceback of pathlib's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileNotFoundError, match=f"{name} is not a folder"):
        gallery.sync(name)
    with pytest.raises(FileNotFoundError, match=f"{name} holds no gallery"):
        Gallery.open(name)
    assert gallery.add([name]).failed == (f"{tmp_path / name} is not a file that can be read",)
    assert gallery.remove(name) == 0
