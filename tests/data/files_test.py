"""A text file is there whole, new or old; nothing else is left behind."""

import errno
import os
import pathlib
import resource
import socket
import subprocess
import sys

import filelock
import pytest

from dsf_jax.data import files
from dsf_jax.data.files import (
    LOCK_FILE,
    directory_lock,
    expand_home,
    read_text,
    real_path,
    write_atomic,
)


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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_text_means_the_same_with_a_byte_order_mark(encoding, tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes("caf\u00e9\r\ndog\r\n".encode(encoding))
    assert read_text(path).splitlines() == ["caf\u00e9", "dog"]


def test_names_that_look_the_same_are_read_the_same(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes("cafe\u0301".encode())
    assert read_text(path) == "caf\u00e9"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"caf\xe9\ndog\n", "is not UTF-8 text, .*Latin-1: .* 0xe9 at 3; save it as UTF-8"),
        ("caf\u20ac".encode("cp1252"), "Windows-1252 .* 0x80 at 3; save it as UTF-8"),
        ("dog".encode("utf-16-le"), "UTF-16 without a byte-order mark .*; save it as UTF-8"),
        (b"\xff\xfed\x00o", "is not UTF-16 text: .*; save it as UTF-8"),
    ],
)
def test_another_encoding_is_refused(content, reason, tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"latin\.txt .*{reason}"):
        read_text(path)


LOCKED = "is being written by another process; wait for it or choose another folder"


def fails_with(number):
    def flock(*_):
        raise OSError(number, "no locks here")

    return flock


@pytest.mark.parametrize("system", ["linux", "win32"])
def test_one_process_writes_at_a_time(tmp_path, monkeypatch, system):
    assert (
        filelock.FileLock is filelock.UnixFileLock
    )  # imported before, it takes this system's locks
    monkeypatch.setattr(files.sys, "platform", system)
    with (
        directory_lock(tmp_path / "run"),
        pytest.raises(OSError, match=LOCKED),
        directory_lock(tmp_path / "run"),
    ):
        pass
    with directory_lock(tmp_path / "run"):
        assert system == "win32" or names(tmp_path / "run") == []


def without_locks(monkeypatch, how):
    monkeypatch.setattr(files.fcntl, "flock", fails_with(getattr(errno, how)))


@pytest.mark.parametrize("how", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_a_file_stands_for_the_lock_where_there_are_none(tmp_path, monkeypatch, how):
    without_locks(monkeypatch, how)
    monkeypatch.setattr(os, "getpid", os.getppid)  # another process, which is alive
    with directory_lock(tmp_path):
        assert names(tmp_path) == [LOCK_FILE]
        monkeypatch.undo()
        without_locks(monkeypatch, how)
        said = f"{tmp_path} is being written by process {os.getppid()} on .*; wait for it.* remove"
        with pytest.raises(OSError, match=said), directory_lock(tmp_path):
            pass
    assert names(tmp_path) == []


def test_the_file_of_a_process_that_is_gone_is_taken_over(tmp_path, monkeypatch):
    without_locks(monkeypatch, "ENOSYS")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / LOCK_FILE).write_text(f"{socket.gethostname()} {ended.pid}")
    with directory_lock(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK_FILE).read_text()


@pytest.mark.parametrize("content", ["elsewhere 1", "", "half"])
def test_the_file_of_an_unknown_process_is_named(tmp_path, monkeypatch, content):
    without_locks(monkeypatch, "ENOLCK")
    (tmp_path / LOCK_FILE).write_text(content)
    with (
        pytest.raises(OSError, match=rf"says {tmp_path / LOCK_FILE}; wait"),
        directory_lock(tmp_path),
    ):
        pass
    assert (tmp_path / LOCK_FILE).read_text() == content


def test_other_errors_of_locking_are_raised(tmp_path, monkeypatch):
    monkeypatch.setattr(files.fcntl, "flock", fails_with(errno.EIO))
    with pytest.raises(OSError, match="no locks here"), directory_lock(tmp_path):
        pass


def test_the_module_imports_on_windows():
    code = (
        "import shutil, sys; sys.platform = 'win32'; sys.modules['fcntl'] = None; "
        "import dsf_jax.data.files"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_cannot_be_written_is_named_as_it_was_given(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space") as caught:
        write_atomic(tmp_path / "figure.png", b"x")
    assert caught.value.filename == str(tmp_path / "figure.png")


def test_paths_of_unknown_users_and_of_links_to_themselves_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("folder")
    assert expand_home("~/x") == tmp_path / "x" and real_path("~/link") == tmp_path / "folder"
    assert expand_home("~nobody at all/x") == pathlib.Path("~nobody at all/x")
    assert real_path("loop") == tmp_path / "loop"
