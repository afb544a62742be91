"""A folder's pictures are found wherever they lie, each once, and whatever else lies there is accounted for."""

import io
import os
import unicodedata

import pytest
from PIL import Image

from dsf_jax.data import picture_formats
from dsf_jax.data.picture_folders import (
    DANGLING,
    EXCLUDED,
    GALLERY,
    NO_SUFFIX,
    READ_ALREADY,
    SPECIAL,
    SYSTEM,
    Kind,
    check_apart,
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
        Kind(kind): [tmp_path / name]
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
    others = ["b.HEIC", "b.heic", "c.avif", "d.svg", "e.jp2", "f.NEF", "g.dng", "h.psd"]
    others += ["i.txt", "j.mov", "Makefile"]
    touch(tmp_path, *others, ".hidden.heic")
    os.mkfifo(tmp_path / "pipe.png")
    found = list_pictures(tmp_path)
    assert {kind.name: len(paths) for kind, paths in found.passed_over.items()} == {
        ".heic": 2, ".avif": 1, ".svg": 1, ".jp2": 1, ".nef": 1, ".dng": 1, ".psd": 1, ".txt": 1,
        ".mov": 1, SPECIAL.name: 1, NO_SUFFIX.name: 1,
    }  # fmt: skip
    lines = list(missed_pictures(found.passed_over, tmp_path))
    assert len(lines) == 7 and not any(x in str(lines) for x in ("i.txt", "j.mov", "Makefile"))
    assert "passed over 2 .heic: b.HEIC, b.heic; to have them read, convert them" in str(lines)
    line = summary(found.passed_over, tmp_path)
    assert "2 .heic, " in line and "1 .txt (i.txt)" in line and "\n" not in line


def encoded(format):
    buffer = io.BytesIO()
    Image.new("RGB", (5, 5)).save(buffer, format)
    return buffer.getvalue()


def test_the_content_decides_what_is_a_picture(tmp_path):
    contents = {
        "a.jfif": "JPEG", "b.HEIC": "JPEG", "c.avif": "AVIF", "d": "PNG", "e.jpg_large": "JPEG",
        "f.dat": "GIF", "g.png": "JPEG",
    }  # fmt: skip
    for name, format in contents.items():
        (tmp_path / name).write_bytes(encoded(format))
    unfinished = ("h.jpg.crdownload", "i.jpg.part", "GOPR1.THM")
    for name in unfinished:
        (tmp_path / name).write_bytes(encoded("JPEG"))
    found = list_pictures(tmp_path)
    assert found.pictures == [tmp_path / name for name in contents]
    assert [path.name for paths in found.passed_over.values() for path in paths] == list(unfinished)


def test_pictures_that_need_a_library_are_counted_and_named_with_it(tmp_path, monkeypatch):
    find_spec = picture_formats.importlib.util.find_spec
    absent = ["pillow_heif", "rawpy", "resvg_py", "pillow_jxl"]
    monkeypatch.setattr(
        picture_formats.importlib.util,
        "find_spec",
        lambda name: None if name in absent else find_spec("PIL"),
    )
    heads = {
        "IMG_1.HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a.nef": b"MM\0*\0\0\0\x08",
        "b.svg": b"<svg>", "c.jxl": b"\xff\x0a\0\0", "export": b"<svg>",
    }  # fmt: skip
    for name, head in heads.items():
        (tmp_path / name).write_bytes(head)
    (tmp_path / "d.png").write_bytes(encoded("PNG"))
    found = list_pictures(tmp_path)
    lines = sorted(missed_pictures(found.passed_over, tmp_path))
    for line, start, package in zip(
        lines,
        (
            "1 .heic: IMG_1.HEIC",
            "1 .jxl: c.jxl",
            "1 .nef: a.nef",
            "1 .svg: b.svg",
            "1 SVG named so: export",
        ),
        ("pillow-heif", "pillow-jxl-plugin", "rawpy", "resvg-py", "resvg-py"),
        strict=True,
    ):
        assert line.startswith(
            f"passed over {start}; to have them read, run `pip install {package}`"
        )
    absent.clear()
    found = list_pictures(tmp_path)
    assert len(found.pictures) == 6 and not found.passed_over


def test_a_picture_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "b.heic", "c.key")
    path_open = type(tmp_path).open

    def closed(path, *args, **options):
        if path.name in ("b.heic", "c.key"):
            raise PermissionError
        return path_open(path, *args, **options)

    monkeypatch.setattr(type(tmp_path), "open", closed)
    found = list_pictures(tmp_path)
    assert found.unreadable == [tmp_path / "b.heic"]
    assert found.passed_over == {Kind(".key"): [tmp_path / "c.key"]}


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
    # One path is one line, and no name steers a terminal.
    assert printable("a\nb\x1b[2J\x7f 猫") == r"a\nb\x1b[2J\x7f 猫"


def test_what_is_excluded_is_passed_over_and_counted(tmp_path):
    nfd = unicodedata.normalize("NFD", "Übung")
    names = ["a.png", "a_edited.png", "raw/b.png", "2024/raw/c.png", "2024/d.png", f"{nfd}/e.png"]
    touch(tmp_path, *names, "2024/d.png.txt")
    for exclude, gone, passed_over in (
        (["raw"], {2, 3}, ["2024/raw", "raw"]),
        (["2024/raw/"], {3}, ["2024/raw"]),
        (["./raw", "*_edited.*", "Übung"], {1, 2, 3, 5}, ["2024/raw", "a_edited.png", "raw", nfd]),
        (["2024/*"], {3, 4}, ["2024/d.png", "2024/d.png.txt", "2024/raw"]),
        (["*.PNG", "png", "2024/c.png"], set(), []),
    ):
        found = list_pictures(tmp_path, exclude=exclude)
        left = [name for i, name in enumerate(names) if i not in gone]
        assert found.pictures == sorted(tmp_path / name for name in left)
        paths = found.passed_over.get(EXCLUDED, [])
        assert paths == sorted(tmp_path / name for name in passed_over)
    with pytest.raises(FileNotFoundError, match=r"only .* excluded \("):
        list_pictures(tmp_path, exclude=["*"])


def test_folders_within_each_other_are_refused_together(tmp_path):
    for name in ("a/sub", "ab"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    check_apart([])
    check_apart([tmp_path / "a", str(tmp_path / "ab")])
    for other in ("a", "a/sub", "link", "link/sub", "ab/../a"):
        for pair in ([tmp_path / "a", tmp_path / other], [tmp_path / other, tmp_path / "a"]):
            with pytest.raises(ValueError, match=r"lies in .*, or is the same folder; name each"):
                check_apart(pair)
