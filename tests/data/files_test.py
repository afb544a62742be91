"""A text file is there whole, new or old; nothing else is left behind."""

import pathlib
import resource

import pytest

from dsf_jax.data.files import write_atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_text_reads_back_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "a" / "b" / "note.json"
    text = '{"class": "Hütte 🏠"}\n\nend'
    write_atomic(path, text)
    assert path.read_bytes() == text.encode()
    assert names(path.parent) == ["note.json"]


def test_an_old_file_is_replaced(tmp_path):
    path = tmp_path / "note.txt"
    write_atomic(path, "old and long")
    write_atomic(str(path), "new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["note.txt"]


def test_the_old_file_stays_when_the_text_cannot_be_encoded(tmp_path):
    path = tmp_path / "note.txt"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "new \ud800")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["note.txt"]


def test_the_old_file_stays_when_there_is_no_room(tmp_path):
    path = tmp_path / "note.txt"
    write_atomic(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomic(path, "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["note.txt"]


@pytest.mark.parametrize("error", [OSError("no"), KeyboardInterrupt()])
def test_the_old_file_stays_when_it_cannot_be_replaced(tmp_path, monkeypatch, error):
    path = tmp_path / "note.txt"
    write_atomic(path, "old")

    def replace(*_):
        raise error

    monkeypatch.setattr(pathlib.Path, "replace", replace)
    with pytest.raises(type(error)):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["note.txt"]


def test_a_reader_sees_the_old_text_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "note.txt"
    write_atomic(path, "old")
    seen = []
    replace = pathlib.Path.replace

    def look_first(self, target):
        seen.append((path.read_text(), self.read_text(), self.parent))
        return replace(self, target)

    monkeypatch.setattr(pathlib.Path, "replace", look_first)
    write_atomic(path, "new")
    assert seen == [("old", "new", tmp_path)]  # beside it: a rename across disks is no rename


def test_a_folder_in_the_way_is_an_error(tmp_path):
    (tmp_path / "note.txt").mkdir()
    with pytest.raises(OSError, match=r"note\.txt"):
        write_atomic(tmp_path / "note.txt", "new")
    assert names(tmp_path) == ["note.txt"]
