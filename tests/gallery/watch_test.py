"""Changes of folders are noticed, except for those that do not matter."""

import pathlib
import threading

import pytest

pytest.importorskip("watchfiles", reason="needs watchfiles, of the extra `watch`")

from dsf_jax.gallery import watch
from dsf_jax.gallery.watch import may_matter, watch_folders


def test_a_change_ends_the_wait_and_time_does(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "QUIET", 0.05)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    noticed = watch_folders(folders, look_again=60)
    timer = threading.Timer(0.3, (folders[1] / "x.png").write_bytes, [b"x"])
    timer.start()
    next(noticed)
    timer.join()
    next(watch_folders(folders, look_again=0.05))


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
