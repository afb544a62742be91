"""Folders, zips and tars are listed alike; what leads out of them, or bombs, ends in one clear line."""

import pickle
import stat
import struct
import tarfile
import zipfile

import hypothesis
import hypothesis.strategies as st
import pytest

from data_builders import sources
from data_builders.faults import BadFile
from data_builders.sources import (
    below,
    class_folders,
    natural_order,
    only_one,
    source_files,
)
from tests.data_builders.drawn import write_tar, write_tree, write_zip

FILES = {
    "top/png/alarm clock/10.png": b"ten",
    "top/png/alarm clock/2.png": b"two",
    "top/png/caf\u00e9/1.PNG": b"one",
    "top/png/filelist.txt": b"text",
    "top/.hidden/3.png": b"hidden",
    "__MACOSX/top/png/._2.png": b"mac",
    "top/png/alarm clock/@eaDir/2.png/SYNOPHOTO_THUMB_M.png": b"thumbnail",
    "top/png/.@__thumb/2.png": b"thumbnail",
    "#recycle/png/alarm clock/3.png": b"removed",
}
NAMES = ["top/png/alarm clock/2.png", "top/png/alarm clock/10.png", "top/png/caf\u00e9/1.PNG"]


def _make(kind, folder):
    makers = {
        "folder": lambda: write_tree(folder / "src", FILES),
        "zip": lambda: write_zip(folder / "src.zip", FILES),
        "tar": lambda: write_tar(folder / "src.tar", FILES),
        "tar.gz": lambda: write_tar(folder / "src.tar.gz", FILES, "w:gz"),
        "tar.xz": lambda: write_tar(folder / "src.tar.xz", FILES, "w:xz"),
        "tar.bz2": lambda: write_tar(folder / "src.tar.bz2", FILES, "w:bz2"),
    }
    return makers[kind]()


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz", "tar.xz", "tar.bz2"])
def test_all_kinds_of_source_are_listed_and_read_alike(tmp_path, kind):
    source = _make(kind, tmp_path)
    files = source_files(source, suffixes=(".png",))
    assert [file.name for file in files] == NAMES
    assert [file.read() for file in pickle.loads(pickle.dumps(files))] == [b"two", b"ten", b"one"]
    assert files[0].where == f"{source.name}: {NAMES[0]}"
    with_text = source_files(source, suffixes=(".png", ".txt"))
    assert only_one(with_text, "png/filelist.txt", source).read() == b"text"


def test_names_are_in_one_form_whatever_the_archive_has(tmp_path):
    two_pieces = "cafe\u0301/1.png"
    folder = write_tree(tmp_path / "src", {two_pieces: b"a"})
    assert [file.name for file in source_files(folder)] == ["caf\u00e9/1.png"]
    assert source_files(folder)[0].read() == b"a"
    unflagged = tmp_path / "unflagged.zip"
    write_zip(unflagged, {"caf\u00e9\\1.png": b"a"})
    content = unflagged.read_bytes()
    for signature, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(signature) + flags_at
        (flags,) = struct.unpack_from("<H", content, at)
        assert flags & 0x800
        content = content[:at] + struct.pack("<H", flags & ~0x800) + content[at + 2 :]
    unflagged.write_bytes(content)
    (file,) = source_files(unflagged)
    assert file.name == "caf\u00e9/1.png" and file.read() == b"a"


@hypothesis.given(st.lists(st.integers(0, 3000), min_size=1, max_size=20, unique=True))
def test_numbers_sort_as_numbers(numbers):
    names = [f"a{number}/x{number}" for number in numbers]
    assert sorted(names, key=natural_order) == [f"a{n}/x{n}" for n in sorted(numbers)]


@hypothesis.given(st.lists(st.text("01a/", max_size=5), unique=True), st.randoms())
def test_natural_order_is_total(names, random):
    ordered = sorted(names, key=natural_order)
    random.shuffle(names)
    assert sorted(names, key=natural_order) == ordered


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("../out.png", r'a path with "\.\."'),
        ("a/../../out.png", r'a path with "\.\."'),
        ("a\\..\\out.png", r'a path with "\.\."'),
        ("/etc/out.png", "an absolute path"),
        ("C:\\out.png", "a path with a drive letter"),
        ("C:out.png", "a path with a drive letter"),
    ],
)
@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_names_that_lead_out_of_an_archive_are_refused(tmp_path, name, what, write):
    path = tmp_path / f"src.{write.__name__[-3:]}"
    write(path, {"a/1.png": b"x", name: b"x"})
    with pytest.raises(ValueError, match=what) as caught:
        source_files(path)
    assert repr(name)[1:-1] in str(caught.value) and "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_links_in_archives_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("a/link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("a/link.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    for name in ("a.zip", "a.tar"):
        with pytest.raises(ValueError, match=r"'a/link\.png' is a link"):
            source_files(tmp_path / name)


def test_links_out_of_a_folder_are_refused_and_those_within_are_read(tmp_path):
    folder = write_tree(tmp_path / "src", {"a/1.png": b"one"})
    (folder / "a" / "2.png").symlink_to("1.png")
    assert [file.read() for file in source_files(folder)] == [b"one", b"one"]
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "a" / "3.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match=r"a/3\.png is a link out of"):
        source_files(folder)
    (folder / "a" / "3.png").unlink()
    (folder / "b").symlink_to("a")
    with pytest.raises(ValueError, match="b is a link to a folder"):
        source_files(folder)


def test_bombs_and_encrypted_entries_are_named_when_read(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.zip", {"a/1.png": bytes(3 * 2**20), "a/2.png": b"x"})
    bomb, sound = source_files(path)
    assert sound.read() == b"x"
    with pytest.raises(BadFile, match=r"a\.zip: a/1\.png: a decompression bomb") as caught:
        bomb.read()
    assert caught.value.reason == "a decompression bomb: shrunk more than 200 times"
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 2**20)
    folder = write_tree(tmp_path / "src", {"a/1.png": bytes(3 * 2**20)})
    plain_tar = write_tar(tmp_path / "a.tar", {"a/1.png": bytes(3 * 2**20)})
    for source in (path, folder, plain_tar):
        with pytest.raises(BadFile, match="larger than 1048576 bytes"):
            source_files(source)[0].read()
    content = bytearray(write_zip(tmp_path / "b.zip", {"a/1.png": b"x"}).read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(BadFile, match="encrypted; unpack the zip"):
        source_files(tmp_path / "b.zip")[0].read()


def test_damaged_archives_are_named(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a/1.png": bytes(range(256)) * 4})
    content = bytearray(path.read_bytes())
    content[60] ^= 255
    path.write_bytes(content)
    with pytest.raises(BadFile, match=r"a/1\.png: damaged in the zip"):
        source_files(path)[0].read()
    for name in ("cut.zip", "cut.tar.gz", "no.tar"):
        (tmp_path / name).write_bytes(bytes(content[:50]))
        with pytest.raises(
            ValueError, match=rf"{name} is not (a )?whole.*download it again"
        ) as caught:
            source_files(tmp_path / name)
        assert "\n" not in str(caught.value)
    tar = write_tar(tmp_path / "cut.tar", {"a/1.png": bytes(5000), "a/2.png": bytes(5000)})
    tar.write_bytes(tar.read_bytes()[:8000])
    with pytest.raises(ValueError, match=r"cut short|not a whole tar"):
        [file.read() for file in source_files(tar)]


def test_a_source_that_is_missing_empty_or_of_another_kind_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist; .*\.zip"):
        source_files(tmp_path / "nowhere")
    write_tree(tmp_path / "src", {"a/readme.txt": b""})
    with pytest.raises(FileNotFoundError, match=r"holds no file ending in \.png among its 1 files"):
        source_files(tmp_path / "src", suffixes=(".png",))
    with pytest.raises(ValueError, match="neither a folder nor a file ending in"):
        source_files(tmp_path / "src" / "a" / "readme.txt")


def test_classes_are_the_last_or_the_first_folder(tmp_path):
    tree = {"x/b 10/1.png": b"", "x/b 2/sub/1.png": b"", "x/b 2/2.png": b""}
    files = source_files(write_tree(tmp_path / "src", tree))
    assert list(class_folders(files, _stop)) == ["b 2", "b 10", "sub"]
    first = class_folders(files, _stop, level="first")
    assert {name: len(found) for name, found in first.items()} == {"x": 3}
    inner = class_folders(below(files, "x"), _stop, level="first")
    assert {name: len(found) for name, found in inner.items()} == {"b 2": 2, "b 10": 1}
    write_tree(tmp_path / "src", {"stray.png": b""})
    faults = []
    assert class_folders(source_files(tmp_path / "src"), faults.append) == class_folders(
        files, _stop
    )
    (stray,) = faults
    assert str(stray).startswith("src: stray.png: lies in no class folder; put it into")


def _stop(fault):
    raise fault


def _in_latin_1(tmp_path, kind):
    """A source with the names caf\xe9/1.png and cup/caf\xe9.png in Latin-1, besides cup/1.png."""
    tree = {
        name: name.encode(errors="replace")
        for name in ("caf\udce9/1.png", "cup/1.png", "cup/caf\udce9.png")
    }
    if kind == "tar":
        return write_tar(tmp_path / "src.tar", tree)
    try:
        return write_tree(tmp_path / "src", tree)
    except OSError as error:
        pytest.skip(f"the file system has no such names: {error}")


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_names_that_are_not_utf8_are_faults_that_can_be_printed(tmp_path, kind):
    source = _in_latin_1(tmp_path, kind)
    files = source_files(source)
    faults = []
    assert [file.read() for file in class_folders(files, faults.append)["cup"]] == [b"cup/1.png"]
    assert list(class_folders(files, faults.append)) == ["cup"]
    assert sorted(map(str, faults[:2])) == [
        rf"{source.name}: caf\xe9/1.png: its name is not UTF-8; rename it",
        rf"{source.name}: cup/caf\xe9.png: its name is not UTF-8; rename it",
    ]
    for file in files:
        if file.name != "cup/1.png":
            with pytest.raises(BadFile, match="its name is not UTF-8; rename it"):
                file.read()


def test_a_folder_is_found_at_the_shallowest_depth(tmp_path):
    tree = {"top/Photos/cat/1.png": b"1", "top/sketches/photos/2.png": b"2"}
    files = source_files(write_tree(tmp_path / "src", tree))
    assert [file.name for file in below(files, "photos")] == ["cat/1.png"]
    assert [file.name for file in below(files, "sketches")] == ["photos/2.png"]
    only_sketches = [file for file in files if "sketches" in file.name]
    assert below(only_sketches, "photos", siblings=("sketches",)) == []
    assert [file.name for file in below(files, "top/photos")] == ["cat/1.png"]
    assert below(files, "nothing") == []
