"""Features in files: the same as in memory, whoever is killed in between."""

import json
import os
import shutil

import jax
import numpy as np
import pytest

from dsf_jax.models.backbones import BACKBONES
from dsf_jax.retrieval import block_files
from dsf_jax.retrieval.feature_files import extract_to_files, open_features
from dsf_jax.retrieval.features import extract, feature_blocks
from tests.retrieval.features_test import MODEL, NAMED, SIZE, Reading, drawings

N = 11
LAYERS = ("L7", "L6+L7")
IDS = [f"Äffchen 🐒/{i}\n" for i in range(N)]


def extracted(folder, examples=None, model=MODEL, ids=IDS, **changes):
    examples = Reading(drawings(N)) if examples is None else examples
    options = {"layers": LAYERS, "batch_size": 3, "configuration": {"split": ("test",)}}
    extract_to_files(folder, model, examples, ids, **(options | changes))
    return examples


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module", autouse=True)
def registered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, NAMED.name, NAMED)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder written without interruption."""
    folder = tmp_path_factory.mktemp("whole") / "set" / "test"
    extracted(folder)
    return folder


class Killed(BaseException):
    """The process is gone."""


class Dying(Reading):
    """Kills the reader at one example."""

    def __init__(self, examples, at):
        super().__init__(examples)
        self.at = at

    def __getitem__(self, index):
        if index == self.at:
            raise Killed
        return super().__getitem__(index)


def test_files_hold_what_memory_does(whole):
    found = open_features(whole)
    expected = extract(MODEL, drawings(N), layers=LAYERS, batch_size=3)
    assert list(found.features) == list(LAYERS)
    for layer in LAYERS:
        assert isinstance(found.features[layer], np.memmap)
        assert found.features[layer].dtype == np.float32
        np.testing.assert_array_equal(found.features[layer], expected[layer])
    assert found.labels.dtype == np.int32 and found.labels.tolist() == list(range(N))
    assert found.source_ids == IDS
    told = found.configuration
    assert told["examples"] == N and told["layers"] == {"L7": 8, "L6+L7": 20}
    assert told["split"] == ["test"] and told["size"] == SIZE
    names = {"L7.npy", "L6+L7.npy", "labels.npy", "source_ids.json", "features.json"}
    assert set(contents(whole)) == names


def test_features_of_several_views_are_kept_apart(whole, tmp_path):
    """One view is not named, as in folders from before there was a choice."""
    assert "views" not in open_features(whole).configuration
    folder, some = tmp_path / "mirrored", {"ids": IDS[:2], "layers": ("L7",)}
    extracted(folder, drawings(2), views="mirrored", **some)
    found = open_features(folder)
    assert found.configuration["views"] == "mirrored"
    (block,) = feature_blocks(MODEL, drawings(2), layers=("L7",), views="mirrored")
    np.testing.assert_array_equal(found.features["L7"], block.outputs["L7"])
    for other in ("one", "all"):
        with pytest.raises(ValueError, match="views"):
            extracted(folder, drawings(2), views=other, **some)


@pytest.mark.parametrize("at", [0, 5, 10])
def test_a_killed_extraction_goes_on_at_the_first_missing_block(at, whole, tmp_path):
    folder = tmp_path / "test"
    with pytest.raises(Killed):
        extracted(folder, Dying(drawings(N), at))
    assert not (folder / "features.json").exists()
    with pytest.raises(FileNotFoundError, match=r"is not complete; run python -m launch\.extract"):
        open_features(folder)
    examples = extracted(folder)
    assert examples.read == list(range(at // 3 * 3, N))
    assert contents(folder) == contents(whole)


@pytest.mark.parametrize("name", ["L7.npy", "L6+L7.npy", "labels.npy", "done.npy"])
def test_a_block_that_is_half_written_is_written_again(name, whole, tmp_path, monkeypatch):
    folder, write = tmp_path / "test", block_files._write_rows

    def killed_within(path, shape, first, rows):
        if path.name == name and first in (1, 3):  # the second block, or its mark
            write(path, shape, first, rows[: len(rows) // 2])
            raise Killed
        write(path, shape, first, rows)

    with monkeypatch.context() as patch:
        patch.setattr(block_files, "_write_rows", killed_within)
        with pytest.raises(Killed):
            extracted(folder)
    assert extracted(folder).read == list(range(3, N))
    assert contents(folder) == contents(whole)


def test_a_start_that_is_killed_is_begun_again(whole, tmp_path, monkeypatch):
    folder = tmp_path / "test"
    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "open_memmap", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            extracted(folder)
    assert set(contents(folder)) == {"unfinished.json", "source_ids.json"}
    extracted(folder)
    assert contents(folder) == contents(whole)


def test_what_is_complete_is_not_computed_again(whole):
    before = contents(whole)
    assert extracted(whole).read == []
    assert contents(whole) == before


OTHER = jax.tree.map(lambda x: x + 1, MODEL)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": OTHER}, "parameters is"),
        ({"layers": ("L7",)}, "layers is"),
        ({"batch_size": 4}, "batch_size is 3 there and 4 now"),
        ({"configuration": {"split": ["train"]}}, r"split is \['test'\] there and \['train'\] now"),
        ({"configuration": {}}, r"split is \['test'\] there and None now"),
        ({"ids": IDS[::-1]}, "source_ids is"),
        ({"examples": drawings(N - 1), "ids": IDS[1:]}, "examples is 11 there and 10 now"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_features_of_another_configuration_are_left_alone(
    changes, words, finished, whole, tmp_path
):
    folder = tmp_path / "test"
    if finished:
        shutil.copytree(whole, folder)
    else:
        with pytest.raises(Killed):
            extracted(folder, Dying(drawings(N), 4))
    before = contents(folder)
    with pytest.raises(ValueError, match=words) as caught:
        extracted(folder, **changes)
    assert str(caught.value).endswith("; choose another folder") and "\n" not in str(caught.value)
    assert contents(folder) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "L7.npy").write_text("mine")
    with pytest.raises(FileExistsError, match="holds something else; choose another folder"):
        extracted(tmp_path)
    assert contents(tmp_path) == {"L7.npy": b"mine"}


@pytest.mark.parametrize("name", ["L6+L7.npy", "labels.npy", "source_ids.json", "features.json"])
@pytest.mark.parametrize("missing", [True, False])
def test_damaged_files_are_named(name, missing, whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "test")
    if missing:
        (folder / name).unlink()
    else:
        os.truncate(folder / name, (folder / name).stat().st_size // 2)
    kind = FileNotFoundError if missing and name == "features.json" else ValueError
    with pytest.raises(kind) as caught:
        open_features(folder)
    remedy = (
        "run python" if kind is FileNotFoundError else "remove the folder and run the command again"
    )
    assert str(folder) in str(caught.value) and remedy in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_gone_is_told_before_more_is_computed(tmp_path):
    folder = tmp_path / "test"
    with pytest.raises(Killed):
        extracted(folder, Dying(drawings(N), 4))
    np.save(folder / "L7.npy", np.zeros((N, 9), np.float32))
    with pytest.raises(
        ValueError, match=r"L7.npy is float32 \(11, 9\), expected float32 \(11, 8\)"
    ):
        extracted(folder)


def test_too_small_a_disk_is_left_as_it_was(tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(10**6, 10**6 - 100, 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="MiB of features, and 0 MiB are free; free some"):
        extracted(tmp_path / "test")
    assert list((tmp_path / "test").iterdir()) == []


def test_ids_must_fit(tmp_path):
    with pytest.raises(ValueError, match="3 source ids do not fit 11 examples; give each one"):
        extracted(tmp_path / "test", ids=IDS[:3])
    assert not (tmp_path / "test").exists()


def test_what_another_run_completes_before_this_one_is_let_in_stays(whole, tmp_path, monkeypatch):
    """Its files were made anew, full of zeros, beside the mark that says that all is there."""
    folder, lock = tmp_path / "test", block_files.directory_lock
    with pytest.raises(Killed):
        extracted(folder, Dying(drawings(N), 5))

    def late(place):
        monkeypatch.setattr(block_files, "directory_lock", lock)
        extracted(folder)
        return lock(place)

    monkeypatch.setattr(block_files, "directory_lock", late)
    assert extracted(folder).read == []
    assert contents(folder) == contents(whole)


def test_two_writers_are_one_too_many(tmp_path):
    folder = tmp_path / "test"
    with (
        block_files.directory_lock(folder),
        pytest.raises(OSError, match="is being written by another process"),
    ):
        extracted(folder)


def test_the_configuration_is_readable_json(whole):
    assert json.loads((whole / "features.json").read_text())["format"] == block_files.FORMAT


def test_features_that_are_not_finite_are_refused_by_their_source(tmp_path):
    """Files of them would be used in silence."""
    first, *_ = jax.tree.leaves(MODEL.params)
    broken = MODEL.replace(
        params=jax.tree.map(lambda x: x * (np.nan if x is first else 1), MODEL.params)
    )
    with pytest.raises(ValueError, match=r"L7 of the example .*Äffchen.*0.* is not finite; look"):
        extracted(tmp_path / "set", model=broken)
    with pytest.raises(FileNotFoundError, match="not complete"):
        open_features(tmp_path / "set")
