"""The user's own folders, and through them what all builders of files have in common."""

import errno
import functools
import http.server
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from data_builders.builder import DomainAbsent
from data_builders.prepare import build, prepare
from data_builders.sketch_photo_folders.sketch_photo_folders_dataset_builder import (
    Builder,
    Options,
    read_class_map,
)
from dsf_jax.data.downloads import Download
from dsf_jax.data.records import list_datasets, open_records
from dsf_jax.images.points import points_from_image
from tests.data_builders.drawn import drawing, photo, write_tree, write_zip

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NAME = "sketch_photo_folders"
CLASSES = ("apfel", "\u732b", "z\u00e9bre")
TREE = {
    **{
        f"sketches/{c}/{i}.png": drawing(5 * k + i + 3)
        for k, c in enumerate(CLASSES)
        for i in range(5)
    },
    **{f"photos/{c}/set/{i}.jpg": photo(i, "JPEG") for c in CLASSES[1:] for i in range(4)},
    "photos/pilz/1.png": photo(9),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("source"), TREE)


def _build(data_dir, source, config, **options):
    builder = Builder(config=config, data_dir=data_dir, source=source, **options)
    prepare(builder)
    return builder


def _records(data_dir, config, split="train+test"):
    return list(open_records(data_dir, f"{NAME}/{config}", split))


def _assert_same(records, others):
    assert [record["source_id"] for record in records] == [other["source_id"] for other in others]
    for record, other in zip(records, others, strict=True):
        for field, value in record.items():
            np.testing.assert_array_equal(value, other[field])


def _left(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_both_domains_of_a_folder(source, tmp_path):
    build(NAME, tmp_path, source=source)
    assert list_datasets(tmp_path) == {
        f"{NAME}/photo": {"train": 7, "test": 2},
        f"{NAME}/sketch": {"train": 12, "test": 3},
    }
    for config, folder in (("sketch", "sketches"), ("photo", "photos")):
        records = _records(tmp_path, config)
        names = open_records(tmp_path, f"{NAME}/{config}", "train").class_names
        assert names == ("apfel", "pilz", "z\u00e9bre", "\u732b")
        assert {f"{folder}/{r['source_id']}" for r in records} == {
            name for name in TREE if name.startswith(folder)
        }
        for record in records:
            assert record["domain"] == config
            assert record["class_name"] == names[record["label"]]
            assert record["class_name"] == record["source_id"].split("/")[0]
    for record in _records(tmp_path, "sketch"):
        row = 5 * CLASSES.index(record["class_name"]) + int(record["source_id"][-5]) + 3
        assert record["image"].shape == (40, 40, 1) and (record["image"][row, 5:-5] == 0).all()
        np.testing.assert_array_equal(record["points"], points_from_image(record["image"][..., 0]))
    (mushroom,) = [r for r in _records(tmp_path, "photo", "train") if r["class_name"] == "pilz"]
    assert tuple(mushroom["image"][2, 2]) == (90, 165, 40)


def test_an_archive_several_processes_and_a_second_run_give_the_same(source, tmp_path):
    first = _build(tmp_path / "a", source, "sketch")
    packed = write_zip(tmp_path / "b.zip", {f"top/{name}": data for name, data in TREE.items()})
    _build(tmp_path / "b", packed, "sketch", processes=2)
    for split in ("train", "test"):
        _assert_same(*(_records(tmp_path / x, "sketch", split) for x in "ab"))
    files = {path: path.stat().st_mtime_ns for path in _left(tmp_path / "a")}
    prepare(pickle.loads(pickle.dumps(first)))
    assert {path: path.stat().st_mtime_ns for path in _left(tmp_path / "a")} == files


def test_one_domain_may_be_missing_but_not_both(tmp_path, capsys):
    only = {name: data for name, data in TREE.items() if name.startswith("sketches")}
    source = write_tree(tmp_path / "src", {**only, "other/1.png": photo(1)})
    build(NAME, tmp_path / "data", source=source)
    assert list(list_datasets(tmp_path / "data")) == [f"{NAME}/sketch"]
    assert (
        f"{NAME}/photo: left out, {source} has no pictures in photos/CLASS/"
        in capsys.readouterr().out
    )
    assert not (tmp_path / "data" / NAME / "photo").exists()
    with pytest.raises(DomainAbsent):
        _build(tmp_path / "data", source, "photo")
    with pytest.raises(FileNotFoundError, match="no picture in sketches/CLASS/ or photos/CLASS/"):
        build(NAME, tmp_path / "none", source=source / "other")
    assert not (tmp_path / "none" / NAME).exists()


def test_classes_are_joined_by_a_map_and_by_unicode_form(tmp_path):
    tree = {
        "sketches/bike/1.png": drawing(3),
        "sketches/z\u00e9bre/1.png": drawing(3),
        "photos/bicycles/1.png": photo(1),
        "photos/" + unicodedata.normalize("NFD", "z\u00e9bre") + "/1.png": photo(1),
    }
    source = write_tree(tmp_path / "src", tree)
    (tmp_path / "map.json").write_text(json.dumps({"bicycle": ["bike", "bicycles"]}))
    options = Options(class_map=str(tmp_path / "map.json"))
    for config in ("sketch", "photo"):
        _build(tmp_path, source, config, options=options)
        assert {r["class_name"] for r in _records(tmp_path, config, "train")} == {
            "bicycle",
            "z\u00e9bre",
        }


def test_a_class_map_may_escape_its_names_and_take_accents_apart(tmp_path):
    source = write_tree(tmp_path / "src", {"sketches/caf\u00e9/1.png": drawing(3)})
    (tmp_path / "map.json").write_text(r'{"ze\u0301bre": ["cafe\u0301"]}', "ascii")
    options = Options(class_map=str(tmp_path / "map.json"))
    _build(tmp_path, source, "sketch", options=options)
    assert _records(tmp_path, "sketch", "train")[0]["class_name"] == "z\u00e9bre"


def test_a_class_map_with_a_folder_that_is_not_there_is_an_error(tmp_path):
    source = write_tree(tmp_path / "src", {"photos/katze/1.png": photo(1)})
    (tmp_path / "map.json").write_text('{"cat": ["katze", "katz"]}')
    options = Options(class_map=str(tmp_path / "map.json"))
    with pytest.raises(
        ValueError, match=r"names the folder 'katz', which neither .* has; correct it"
    ):
        _build(tmp_path, source, "photo", options=options)
    assert not _left(tmp_path / NAME)


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": 1}', '{"a": [1]}'])
def test_a_class_map_of_another_form_is_an_error(tmp_path, text):
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(ValueError, match=r"map\.json is not a class map .*write JSON of the form"):
        read_class_map(str(tmp_path / "map.json"))


def test_a_folder_of_two_classes_is_an_error(tmp_path):
    (tmp_path / "map.json").write_text('{"a": ["x"], "b": ["x"]}')
    with pytest.raises(ValueError, match="gives the folder 'x' to the classes 'a' and 'b'"):
        read_class_map(str(tmp_path / "map.json"))


def test_options_change_the_cut_and_the_points(source, tmp_path):
    _build(tmp_path / "all", source, "sketch", options=Options(test_share=0.0, thinned=False))
    assert list_datasets(tmp_path / "all") == {f"{NAME}/sketch": {"train": 15}}
    for record in _records(tmp_path / "all", "sketch", "train"):
        image = record["image"][..., 0]
        np.testing.assert_array_equal(record["points"], points_from_image(image, thinned=False))
    with pytest.raises(
        ValueError, match=r"was built with test_share=0\.0, not 0\.2; give --overwrite"
    ) as caught:
        _build(tmp_path / "all", source, "sketch")
    assert str(tmp_path / "all") in str(caught.value)


BROKEN = {
    "photos/cat/empty.jpg": (b"", "empty file"),
    "photos/cat/text.jpg": (b"no picture", "is not a picture"),
    "photos/cat/cut.jpg": (photo(1, "JPEG")[:-150], "cannot be read as a picture"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_stops_the_build_and_nothing_is_left(tmp_path, name):
    source = write_tree(tmp_path / "src", {name: BROKEN[name][0], "photos/cat/1.jpg": photo(1)})
    with pytest.raises(ValueError, match=BROKEN[name][1]) as caught:
        _build(tmp_path / "data", source, "photo")
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert not _left(tmp_path / "data") and not (tmp_path / "data" / NAME).exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_broken_files_are_skipped_and_counted_on_demand(tmp_path, processes, capsys):
    tree = {name: data for name, (data, _) in BROKEN.items()}
    tree |= {f"photos/cat/{i}.jpg": photo(i, "JPEG") for i in range(9)}
    source = write_tree(tmp_path / "src", tree)
    build(NAME, tmp_path, source=source, on_error="skip", processes=processes)
    assert len(_records(tmp_path, "photo")) == 9
    summary = capsys.readouterr().out
    for name, (_, reason) in BROKEN.items():
        assert f"1 {reason}" in summary and name in summary
    metadata = json.loads(next(tmp_path.rglob("2.0.0/metadata.json")).read_text())
    assert sum(metadata["skipped"].values()) == 3 and metadata["skipped"]["empty file"] == 1


def test_files_out_of_place_are_skipped_too(tmp_path):
    tree = {"photos/cover.jpg": photo(1), "sketches/cat/1.png": drawing(3)}
    tree |= {f"photos/cat/{i}.jpg": photo(i, "JPEG") for i in range(5)}
    source = write_tree(tmp_path / "src", tree)
    with pytest.raises(ValueError, match=r"photos/cover\.jpg: lies in no class folder"):
        _build(tmp_path / "a", source, "photo")
    builder = _build(tmp_path / "b", source, "photo", on_error="skip")
    assert builder.skipped.counts == {"lies in no class folder": 1}
    assert len(_records(tmp_path / "b", "photo")) == 5


@pytest.mark.parametrize("name", [b"photos/cat/caf\xe9.jpg", b"photos/caf\xe9/1.jpg"])
def test_a_name_that_is_not_utf8_is_a_fault(tmp_path, name):
    tree = {f"photos/cat/{i}.jpg": photo(i, "JPEG") for i in range(5)}
    source = write_tree(tmp_path / "src", tree)
    try:
        write_tree(source, {os.fsdecode(name): photo(1)})
    except OSError as error:
        pytest.skip(f"the file system has no such names: {error}")
    with pytest.raises(ValueError, match=r"caf\\xe9.*: its name is not UTF-8; rename it"):
        _build(tmp_path / "a", source, "photo")
    builder = _build(tmp_path / "b", source, "photo", on_error="skip")
    assert builder.skipped.counts == {"its name is not UTF-8": 1}
    assert len(_records(tmp_path / "b", "photo")) == 5
    assert open_records(tmp_path / "b", f"{NAME}/photo", "train").class_names == ("cat",)


def test_nothing_but_broken_files_is_an_error_even_so(tmp_path):
    source = write_tree(tmp_path / "src", {name: data for name, (data, _) in BROKEN.items()})
    with pytest.raises(ValueError, match="nothing to build; skipped 3 files"):
        _build(tmp_path / "data", source, "photo", on_error="skip")
    assert not _left(tmp_path / "data")


def test_two_files_of_one_id(tmp_path):
    twice = {"photos/caf\u00e9/1.png": photo(1), "photos/cafe\u0301/1.png": photo(2)}
    source = write_tree(tmp_path / "src", twice)
    with pytest.raises(
        ValueError, match=r"has the same id 'caf\u00e9/1\.png' as .*rename or remove"
    ):
        _build(tmp_path / "a", source, "photo")
    builder = _build(tmp_path / "b", source, "photo", on_error="skip")
    assert builder.skipped.counts == {"same id as another file": 1}
    assert len(_records(tmp_path / "b", "photo", "train")) == 1


def test_a_source_must_be_named_and_tfds_manual_folder_is_one(source, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"give --source=PATH_OR_URL .*{NAME}/README.md"):
        prepare(Builder(config="sketch", data_dir=tmp_path))
    import tensorflow_datasets as tfds

    config = tfds.download.DownloadConfig(manual_dir=source)
    prepare(Builder(config="sketch", data_dir=tmp_path), download_config=config)
    assert len(_records(tmp_path, "sketch")) == 15


def test_a_source_at_an_address_is_downloaded_and_compared(tmp_path, monkeypatch):
    write_zip(tmp_path / "www.zip", TREE)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/www.zip"
        _build(tmp_path / "data", url, "sketch")
        assert len(_records(tmp_path / "data", "sketch")) == 15
        monkeypatch.setattr(Builder, "DOWNLOADS", {"sketch": Download(url, md5="0" * 32)})
        for source in (url, None):
            with pytest.raises(ValueError, match=rf"{url}: its md5 is \w+, expected 0+; try again"):
                _build(tmp_path / "other", source, "sketch")
        server.shutdown()
    assert not _left(tmp_path / "other")


def test_a_full_disk_leaves_nothing(source, tmp_path, monkeypatch):
    from tensorflow_datasets.core.file_adapters import ArrayRecordFileAdapter

    def write(path, iterator):
        Path(path).write_bytes(b"half")
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(ArrayRecordFileAdapter, "write_examples", write)
    with pytest.raises(OSError, match="no space left; free some") as caught:
        _build(tmp_path, source, "photo", on_error="skip")
    assert caught.value.errno == errno.ENOSPC and not _left(tmp_path)


def _children(process):
    """Process ids of a process's children, and theirs."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except (OSError, ProcessLookupError):
            continue
        if parent == process:
            found += [int(entry.parent.name), *_children(int(entry.parent.name))]
    return found


def _alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_killed_build_leaves_no_process_and_the_next_one_is_whole(tmp_path):
    large = drawing(300, size=900)
    source = write_tree(tmp_path / "src", {f"sketches/cat/{i}.png": large for i in range(160)})
    data_dir = tmp_path / "data"
    command = [sys.executable, "-m", "launch.build_data", f"--dataset={NAME}"]
    command += [f"--source={source}", f"--data_dir={data_dir}", "--workers=2"]
    killed = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    half = lambda: list(data_dir.glob(f"{NAME}/sketch/incomplete.*"))  # noqa: E731
    _wait_for(lambda: half() and len(_children(killed.pid)) >= 2, 200)
    os.kill(killed.pid, signal.SIGSTOP)  # however slow this process is, that one is half done
    with pytest.raises(OSError, match="by another process; wait for it"):
        _build(data_dir, source, "sketch")
    children = _children(killed.pid)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    _wait_for(lambda: not any(map(_alive, children)), 200)  # one that starts ends when it has
    assert half() and list_datasets(data_dir) == {}
    _build(data_dir, source, "sketch", processes=1)
    assert not half() and list_datasets(data_dir) == {f"{NAME}/sketch": {"train": 128, "test": 32}}
