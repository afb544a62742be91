"""launch.build_data: what stands in its way is named, and nothing half-built stays."""

import os
import signal

import pytest

from dsf_jax.data.records import list_datasets
from tests.launch.scripts import from_shell

pytestmark = pytest.mark.slow


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file() and ".config" not in path.parts]


def test_a_file_where_the_folder_should_be(launch, tmp_path):
    (tmp_path / "data").write_text("mine")
    result = launch("build_data", dataset="openmoji", data_dir=tmp_path / "data")
    result.failed(tmp_path / "data", "a file lies where a folder must be")
    assert (tmp_path / "data").read_text() == "mine"


def test_a_folder_that_may_not_be_written(launch, tmp_path, small_disk):
    if os.geteuid():
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o555)
    else:
        folder = small_disk(1, options="ro")
    result = launch("build_data", dataset="openmoji", data_dir=folder / "data")
    result.failed(folder / "data", "choose another place or change its permissions")
    assert list(folder.iterdir()) == []


def test_a_full_disk(launch, small_disk):
    """The builder's own test has a disk that fills up half way; this one is full at once."""
    folder = small_disk(1)
    with pytest.raises(OSError), (folder / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    result = launch("build_data", dataset="openmoji", data_dir=folder / "data")
    result.failed(folder, "o space left", "free some")
    assert files_in(folder / "data") == [] and list_datasets(folder / "data") == {}


def test_ctrl_c_leaves_nothing_half_built(tmp_path):
    data_dir = tmp_path / "data"
    result = from_shell(
        tmp_path, "build_data", dataset="openmoji", data_dir=data_dir,
        send=signal.SIGINT, when="Downloading and preparing",
    )  # fmt: skip
    result.failed("interrupted", "run the command again", status=130)
    assert files_in(data_dir) == [] and list_datasets(data_dir) == {}
