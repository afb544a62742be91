"""Changes of folders are noticed, except for those that do not matter."""

import pathlib
import threading
import time

import pytest

pytest.importorskip("watchfiles", reason="needs watchfiles, of the extra `watch`")

from dsf_jax.gallery import watch
from dsf_jax.gallery.watch import may_matter, watch_folders


def test_a_change_ends_the_wait_and_time_does(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "QUIET", 0.05)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(watch, "TICK", 0.1)
    noticed = watch_folders(folders, look_again=60)
    next(noticed)  # it has begun
    timer = threading.Timer(0.3, (folders[1] / "x.png").write_bytes, [b"x"])
    started = time.monotonic()
    timer.start()
    next(noticed)
    timer.join()
    assert 0.3 <= time.monotonic() - started < 30
    by_time = watch_folders(folders, look_again=0.2)
    next(by_time)
    next(by_time)


def test_a_change_while_its_taker_is_busy_is_not_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "QUIET", 0.05)
    monkeypatch.setattr(watch, "TICK", 0.1)
    noticed = watch_folders([tmp_path], look_again=60)
    next(noticed)
    (tmp_path / "at once.png").write_bytes(b"x")
    started = time.monotonic()
    next(noticed)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("path", "matters"),
    [
        ("p/a.png", True), ("p/sub/new", True), ("q/x", True), ("elsewhere/a.png", True),
        ("p/.a.png.7.part", False), ("p/.cache/a.png", False), ("p/@eaDir/a.png", False),
        ("p/gallery/pictures.lance/data/x", False), ("p/raw/a.png", False), ("p", True),
    ],
)  # fmt: skip
def test_what_matters(path, matters):
    roots = [pathlib.Path("/home/p"), pathlib.Path("/home/q")]
    assert may_matter(pathlib.Path("/home") / path, roots, ["raw"]) is matters
