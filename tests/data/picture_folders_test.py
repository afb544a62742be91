"""A folder's pictures are found wherever they lie, each once, and whatever else lies there is accounted for."""

import os
import unicodedata

import pytest
from PIL import Image

from dsf_jax.data.picture_folders import (
    DANGLING,
    GALLERY,
    NO_SUFFIX,
    PICTURE_NO_SUFFIX,
    READ_ALREADY,
    SPECIAL,
    SYSTEM,
    list_pictures,
    missed_pictures,
    printable,
    summary,
)


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_folder_lists_its_pictures_sorted_without_the_hidden(tmp_path):
    shown = [
        "B.JPG",
        "a.png",
        "sub/c d.jpeg",
        "sub/deep/e.webp",
        "zebra 🦓.png",
        "übung.tif",
        "猫/犬.gif",
    ]
    hidden = [".a.png", ".cache/b.png", "sub/.thumbs/c.png"]
    others = ["note.txt", "png", "a.png.part", "sub/table.csv"]
    touch(tmp_path, *shown, *hidden, *others)
    (tmp_path / "folder.png").mkdir()
    found = list_pictures(str(tmp_path))
    assert found.pictures == sorted(tmp_path / name for name in shown)
    assert found.unreadable == []
    assert found.passed_over == {
        kind: [tmp_path / name]
        for kind, name in ((".csv", "sub/table.csv"), (".part", "a.png.part"), (".txt", "note.txt"))
    } | {NO_SUFFIX: [tmp_path / "png"]}


def test_a_hidden_folder_is_searched_when_it_is_asked_for(tmp_path):
    touch(tmp_path, ".store/pictures/a.png")
    found = list_pictures(tmp_path / ".store" / "pictures")
    assert found.pictures == [tmp_path / ".store/pictures/a.png"]


def test_folders_without_pictures_are_named(tmp_path):
    touch(tmp_path, "empty/note.txt", "empty/.a.png")
    with pytest.raises(FileNotFoundError, match="holds no picture") as caught:
        list_pictures(tmp_path / "empty")
    assert str(tmp_path / "empty") in str(caught.value) and ".jpeg" in str(caught.value)
    for path in (tmp_path / "nowhere", tmp_path / "empty" / "note.txt"):
        with pytest.raises(FileNotFoundError, match="is not a folder") as caught:
            list_pictures(path)
        assert str(path) in str(caught.value)


def test_what_a_folder_has_instead_of_pictures_is_named(tmp_path):
    touch(tmp_path, "photos/IMG_1.HEIC", "photos/IMG_2.heic", "photos/notes.txt")
    with pytest.raises(FileNotFoundError, match=r"only 2 \.heic, 1 \.txt \(notes\.txt\); name a"):
        list_pictures(tmp_path / "photos")
    touch(tmp_path, "gallery/pictures.lance/data/x.lance")
    with pytest.raises(FileNotFoundError, match=r"holds a gallery and no picture .*; name"):
        list_pictures(tmp_path / "gallery")


def test_every_visible_file_is_listed_or_passed_over_by_kind(tmp_path):
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    (tmp_path / "DSC_1").write_bytes((tmp_path / "a.png").read_bytes())
    others = ["b.HEIC", "b.heic", "c.avif", "d.svg", "e.jp2", "f.NEF", "g.dng", "h.psd"]
    others += ["i.txt", "j.mov", "Makefile"]
    touch(tmp_path, *others, ".hidden.heic")
    os.mkfifo(tmp_path / "pipe.png")
    found = list_pictures(tmp_path)
    assert {kind: len(paths) for kind, paths in found.passed_over.items()} == {
        ".heic": 2, ".avif": 1, ".svg": 1, ".jp2": 1, ".nef": 1, ".dng": 1, ".psd": 1, ".txt": 1,
        ".mov": 1, SPECIAL: 1, NO_SUFFIX: 1, PICTURE_NO_SUFFIX: 1,
    }  # fmt: skip
    lines = list(missed_pictures(found.passed_over, tmp_path))
    assert len(lines) == 8 and not any(x in str(lines) for x in ("i.txt", "j.mov", "Makefile"))
    assert "passed over 2 .heic: b.HEIC, b.heic; to have them read, convert them" in str(lines)
    assert "passed over 1 with a picture and no suffix: DSC_1; " in str(lines)
    line = summary(found.passed_over, tmp_path)
    assert "2 .heic, " in line and "1 .txt (i.txt)" in line and "\n" not in line


def test_many_of_a_kind_are_named_by_the_first(tmp_path):
    touch(tmp_path, "a.png", *(f"sub/{i}.heic" for i in range(9)))
    (line,) = missed_pictures(list_pictures(tmp_path).passed_over, tmp_path)
    assert line.startswith("passed over 9 .heic: sub/0.heic, sub/1.heic, sub/2.heic and 6 more; ")


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir", "#recycle", "lost+found", ".@__thumb", "$RECYCLE.BIN", "@Recycle", "__MACOSX",
        "System Volume Information", "#snapshot",
    ],
)  # fmt: skip
def test_what_systems_keep_is_no_picture_of_mine(tmp_path, name):
    touch(tmp_path, "2024/beach.jpg", f"2024/{name}/beach.jpg/THUMB.jpg", "2024/Thumbs.db")
    found = list_pictures(tmp_path)
    assert found.pictures == [tmp_path / "2024/beach.jpg"]
    hidden = name.startswith(".")
    kept = [tmp_path / "2024/Thumbs.db"] + ([] if hidden else [tmp_path / "2024" / name])
    assert found.passed_over == {SYSTEM: sorted(kept)}


def test_a_gallery_among_the_pictures_is_passed_over(tmp_path):
    touch(tmp_path, "a.png", "gallery/pictures.lance/data/x.lance")
    assert list_pictures(tmp_path).passed_over == {GALLERY: [tmp_path / "gallery/pictures.lance"]}


def test_links_to_folders_are_followed_once(tmp_path):
    touch(tmp_path, "p/z/a.png", "other/b.png", "other/deep/c.png")
    links = {
        "p/loop": "..", "p/z/self": ".", "p/a_link_to_z": "z", "p/elsewhere": "../other",
        "p/part": "../other/deep", "other/back": "../p", "p/again": "../other", "p/gone": "../none",
        "p/me": "me", "p/file.png": "z/a.png", "p/lost.png": "none.png",
    }  # fmt: skip
    for link, target in links.items():
        (tmp_path / link).symlink_to(target)
    found = list_pictures(tmp_path / "p")
    root = tmp_path / "p"
    names = ["again/b.png", "again/deep/c.png", "file.png", "z/a.png"]
    assert found.pictures == [root / name for name in names]
    read = ["a_link_to_z", "again/back", "elsewhere", "loop", "part", "z/self"]
    assert found.passed_over == {
        READ_ALREADY: [root / name for name in read],
        DANGLING: [root / name for name in ("gone", "lost.png", "me")],
    }
    assert found.unreadable == []


def test_a_folder_keeps_its_own_path_whatever_links_to_it_are_called(tmp_path):
    touch(tmp_path, "real/a.png")
    (tmp_path / "a").symlink_to("real")
    assert list_pictures(tmp_path).pictures == [tmp_path / "real/a.png"]
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert list_pictures(tmp_path / "link").pictures == [tmp_path / "link/a.png"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "open/a.png", "closed/b.png")
    scandir = os.scandir

    def closed(path):
        if str(path).endswith("closed"):
            raise PermissionError
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    found = list_pictures(tmp_path)
    assert (found.pictures, found.unreadable) == ([tmp_path / "open/a.png"], [tmp_path / "closed"])
    with pytest.raises(FileNotFoundError, match="closed cannot be read; change its permissions"):
        list_pictures(tmp_path / "closed")
    (tmp_path / "open/a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no picture .*closed cannot be read; name"):
        list_pictures(tmp_path)


def test_names_that_are_no_text_can_be_printed(tmp_path):
    touch(tmp_path, "a.png")
    for name in (b"/b\xff.heic", b"/c.\xff"):
        with open(os.fsdecode(bytes(tmp_path) + name), "wb"):  # noqa: PTH123
            pass
    found = list_pictures(tmp_path)
    (line,) = missed_pictures(found.passed_over, tmp_path)
    assert r"b\xff.heic" in line
    for text in (line, summary(found.passed_over, tmp_path)):
        text.encode()
    assert printable("é") == "é" != unicodedata.normalize("NFD", "é")
