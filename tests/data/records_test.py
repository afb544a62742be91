"""Reading prepared records, from a small data set that these tests write."""

import io
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from dsf_jax.data.records import Records, list_datasets, open_records

NAMES = ("cat", "dog")
SIZES = {"train": 7, "test": 3}


class TinySketches(tfds.core.GeneratorBasedBuilder):
    """Sketch i has i + 1 points, label i % 2, and is i grey levels dark."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "points": tfds.features.Tensor(shape=(None, 3), dtype=np.uint16, encoding="zlib"),
            "label": tfds.features.ClassLabel(names=NAMES),
            "class_name": tfds.features.Text(),
            "domain": tfds.features.Text(),
            "source_id": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager
        return {split: self._generate_examples(size) for split, size in SIZES.items()}

    def _generate_examples(self, size: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for i in range(size):
            # Noise, so that the files are larger than the 64 kB that array_record pads to.
            pixels = np.random.default_rng(i).integers(0, 255, (200, 200), np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            yield (
                i,
                {
                    "image": buffer.getvalue(),
                    "points": np.full((i + 1, 3), i, np.uint16),
                    "label": i % 2,
                    "class_name": NAMES[i % 2],
                    "domain": "sketch",
                    "source_id": f"drawn/{i}",
                },
            )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("prepared")
    TinySketches(data_dir=data_dir, file_format="array_record").download_and_prepare()
    return data_dir


@pytest.fixture
def copied(prepared: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(prepared, tmp_path / "prepared"))


def _shard(data_dir: Path) -> Path:
    return next(data_dir.glob("tiny_sketches/1.0.0/*train.array_record*"))


def test_every_record_reads_back(prepared: Path) -> None:
    records = open_records(prepared, "tiny_sketches", "train")
    assert len(records) == 7
    assert records.class_names == NAMES
    assert (records.name, records.split, records.domain) == ("tiny_sketches", "train", "sketch")
    seen = set()
    for record in records:
        i = int(record["source_id"].removeprefix("drawn/"))
        seen.add(i)
        expected = np.random.default_rng(i).integers(0, 255, (200, 200), np.uint8)
        np.testing.assert_array_equal(record["image"], expected[..., None])
        np.testing.assert_array_equal(record["points"], np.full((i + 1, 3), i))
        assert record["points"].dtype == np.uint16
        assert (record["label"], record["class_name"]) == (i % 2, NAMES[i % 2])
    assert seen == set(range(7))


def test_indexing_is_that_of_a_sequence(prepared: Path) -> None:
    records = open_records(prepared, "tiny_sketches", "train", fields=("source_id",))
    ids = [record["source_id"] for record in records]
    assert records[-1]["source_id"] == ids[-1]
    assert records[np.int64(2)]["source_id"] == ids[2]
    assert [record["source_id"] for record in records[1:6:2]] == ids[1:6:2]
    for index in (7, -8):
        with pytest.raises(IndexError):
            records[index]


def test_fields_that_are_not_asked_for_are_not_decoded(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(tfds.features.Image, "decode_example_np", decode)
    records = open_records(prepared, "tiny_sketches", "test", fields=("points", "label"))
    assert [set(record) for record in records] == [{"points", "label"}] * 3
    with pytest.raises(AssertionError, match="decoded"):
        open_records(prepared, "tiny_sketches", "test", fields=("image",))[0]


def test_splits_add_up_and_slice(prepared: Path) -> None:
    assert len(open_records(prepared, "tiny_sketches", "train+test")) == 10
    assert len(open_records(prepared, "tiny_sketches", "train[2:]")) == 5


def test_records_pickle_as_an_address(prepared: Path) -> None:
    records = open_records(prepared, "tiny_sketches", "train", fields=("label", "source_id"))
    pickled = pickle.dumps(records)
    assert len(pickled) < 1000
    assert list(pickle.loads(pickled)) == list(records)


@pytest.mark.slow
def test_reading_needs_neither_builder_nor_tensorflow(prepared: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    code = (
        "import sys; from dsf_jax.data.records import open_records; "
        f"print(len(open_records({str(prepared)!r}, 'tiny_sketches', 'train')[0]['image'])); "
        "print({'tensorflow', 'data_builders', 'records_test'} & set(sys.modules))"
    )
    quiet = "ignore:label() is deprecated:DeprecationWarning"  # pyproject.toml says why
    command = [sys.executable, "-W", "error", "-W", quiet, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.split("\n")[:2] == ["200", "set()"]


def test_the_highest_version_is_opened(copied: Path) -> None:
    newer = copied / "tiny_sketches" / "1.10.0"
    shutil.copytree(copied / "tiny_sketches" / "1.0.0", newer)
    shutil.copytree(newer, copied / "tiny_sketches" / "1.9.0")
    assert open_records(copied, "tiny_sketches", "test").folder == newer


def test_a_listing_shows_whole_data_sets_only(copied: Path) -> None:
    whole = copied / "tiny_sketches" / "1.0.0"
    shutil.copytree(whole, copied / "tiny_sketches" / "incomplete.ABC123_1.1.0")
    shutil.copytree(whole, copied / "other" / "config" / "1.0.0")
    assert list_datasets(copied) == {"other/config": SIZES, "tiny_sketches": SIZES}
    assert list_datasets(copied / "nowhere") == {}


def test_a_missing_data_set_says_where_and_how(prepared: Path, tmp_path: Path) -> None:
    command = f"python -m launch.build_data --dataset=openmoji --data_dir={prepared}"
    with pytest.raises(FileNotFoundError, match=r"there: tiny_sketches\)") as caught:
        open_records(prepared, "openmoji/sketch", "train")
    assert command in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="there: nothing"):
        open_records(tmp_path, "openmoji/sketch", "train")
    with pytest.raises(FileNotFoundError, match="there: no such folder"):
        open_records(tmp_path / "nowhere", "openmoji/sketch", "train")


def test_unknown_splits_and_fields_are_named(prepared: Path) -> None:
    with pytest.raises(ValueError, match=r"no split 'valid'; its splits are train, test"):
        open_records(prepared, "tiny_sketches", "valid")
    with pytest.raises(ValueError, match=r"no field 'pionts'; its fields are class_name, domain"):
        open_records(prepared, "tiny_sketches", "train", fields=("pionts",))


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _overwrite(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)


@pytest.mark.parametrize("damage", [_cut, _empty, _overwrite, Path.unlink])
def test_damaged_records_name_the_folder(copied: Path, damage: Any) -> None:
    damage(_shard(copied))
    records = open_records(copied, "tiny_sketches", "train")
    with pytest.raises(ValueError, match="record 3 of split 'train' cannot be read") as caught:
        records[3]
    assert str(records.folder) in str(caught.value) and "\n" not in str(caught.value)


def test_an_image_that_cannot_be_decoded_names_the_record(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = open_records(prepared, "tiny_sketches", "train", fields=("image",))
    decode = tfds.features.Image.decode_example_np
    monkeypatch.setattr(  # a PNG without its end, as earlier versions kept it
        tfds.features.Image, "decode_example_np", lambda self, data: decode(self, data[:-12])
    )
    with pytest.raises(ValueError, match="record 3 of split 'train' cannot be read") as caught:
        records[3]
    message = str(caught.value)
    assert str(records.folder) in message and "\n" not in message and "NoneType" not in message


@pytest.mark.parametrize("damage", [_cut, _empty, _overwrite])
@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_damaged_descriptions_name_the_folder(copied: Path, damage: Any, name: str) -> None:
    folder = copied / "tiny_sketches" / "1.0.0"
    damage(folder / name)
    with pytest.raises(ValueError, match="build the data set again") as caught:
        Records(folder, "train")
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_points_of_an_earlier_version_are_refused_with_the_command_that_builds_them(
    copied: Path,
) -> None:
    description = copied / "tiny_sketches" / "1.0.0" / "features.json"
    content = description.read_text()
    assert content.count('"3"') == 1
    description.write_text(content.replace('"3"', '"2"'))
    with pytest.raises(ValueError, match=r"its points are \[None, 2\], not \[None, 3\]") as caught:
        open_records(copied, "tiny_sketches", "train")
    command = f"`python -m launch.build_data --dataset=tiny_sketches --data_dir={copied}`"
    assert command in str(caught.value)


def test_lost_class_names_are_an_error(copied: Path) -> None:
    (copied / "tiny_sketches" / "1.0.0" / "label.labels.txt").unlink()
    with pytest.raises(ValueError, match=r"label\.labels\.txt"):
        open_records(copied, "tiny_sketches", "train")


def test_the_digest_is_that_of_records_and_classes(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "copy")
    one, other = (open_records(d, "tiny_sketches", "test") for d in (prepared, tmp_path / "copy"))
    assert one.digest == other.digest == open_records(prepared, "tiny_sketches", "train").digest
    description = other.folder / "dataset_info.json"
    description.write_text(description.read_text().replace('"1.0.0"', '"1.0.0" '))
    assert one.digest == other.digest
    (records,) = other.folder.glob("*-train.array_record*")
    content = bytearray(records.read_bytes())
    content[len(content) // 2] ^= 1  # as long as it was
    records.write_bytes(content)
    changed = other.digest
    (other.folder / "label.labels.txt").write_text("cat\ndig\n")
    assert len({one.digest, changed, other.digest}) == 3
