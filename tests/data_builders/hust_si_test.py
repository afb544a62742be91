"""HUST SI: class folders at any depth, photos of every kind."""

import numpy as np
import pytest
from PIL import Image

from data_builders.hust_si.hust_si_dataset_builder import Builder, Options
from data_builders.prepare import prepare
from dsf_jax.data.records import list_datasets, open_records
from tests.data_builders.drawn import encoded, photo, write_tree, write_zip


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.open(_stream(photo(1))), "JPEG", exif=exif)


def _stream(data):
    import io

    return io.BytesIO(data)


TREE = {
    **{f"HUST-SI/airplane/{i}.jpg": photo(i, "JPEG") for i in range(5)},
    "HUST-SI/alarm clock/1.jpg": encoded(Image.open(_stream(photo(1))).convert("CMYK"), "JPEG"),
    "HUST-SI/alarm clock/2.jpg": encoded(Image.open(_stream(photo(1))).convert("L"), "JPEG"),
    "HUST-SI/alarm clock/3.jpg": _turned(),
    "HUST-SI/zebra/1.png": photo(3),
    "HUST-SI/readme.txt": b"text",
}


@pytest.mark.parametrize("make", [write_tree, write_zip])
def test_every_photo_is_a_training_example_of_its_folder(tmp_path, make):
    source = make(tmp_path / ("src.zip" if make is write_zip else "src"), TREE)
    prepare(Builder(data_dir=tmp_path, source=source))
    assert list_datasets(tmp_path) == {"hust_si/photo": {"train": 9}}
    records = open_records(tmp_path, "hust_si/photo", "train")
    assert records.class_names == ("airplane", "alarm clock", "zebra")
    ids = {f"HUST-SI/{record['source_id']}" for record in records}
    assert ids == set(TREE) - {"HUST-SI/readme.txt"}
    for record in records:
        assert record["domain"] == "photo" and record["image"].dtype == np.uint8
        turned = record["source_id"] == "alarm clock/3.jpg"
        assert record["image"].shape == ((16, 12, 3) if turned else (12, 16, 3))


def test_a_share_is_cut_off_for_testing_on_demand(tmp_path):
    source = write_tree(tmp_path / "src", TREE)
    prepare(Builder(data_dir=tmp_path, source=source, options=Options(test_share=0.4)))
    assert list_datasets(tmp_path) == {"hust_si/photo": {"train": 6, "test": 3}}
    train = {record["class_name"] for record in open_records(tmp_path, "hust_si/photo", "train")}
    assert train == {"airplane", "alarm clock", "zebra"}


def test_two_folders_of_one_class_may_not_hold_the_same_name(tmp_path):
    source = write_tree(tmp_path / "src", {"a/cat/1.png": photo(1), "b/cat/1.png": photo(2)})
    with pytest.raises(
        ValueError, match=r"b/cat/1\.png: has the same id 'cat/1\.png' as .*a/cat/1"
    ):
        prepare(Builder(data_dir=tmp_path, source=source))
