"""The sketchy builder on pictures that these tests draw, in the official layout and a subset's."""

import io
import os
import pathlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from data_builders.builder import DomainAbsent
from data_builders.faults import BadFile
from data_builders.prepare import prepare
from data_builders.sketchy.sketchy_dataset_builder import Builder, Options
from dsf_jax.data.records import list_datasets, open_records
from tests.data_builders.drawn import encoded, write_tree, write_zip

pytestmark = pytest.mark.slow

DATA = (
    pathlib.Path(os.environ.get("DSF_JAX_DEV_DATA", pathlib.Path(__file__).parents[3] / "shared"))
    / "data"
    / "sketchy"
)
CLASSES = ("airplane", "car_(sedan)", "jack-o-lantern")
PHOTOS, SKETCHES = 6, 3


def photo(number):
    return encoded(Image.new("RGB", (64, 64), (number * 9 % 256, 80, 40)), "JPEG")


def sketch(number, size=64):
    picture = Image.new("RGB", (size, size), "white")
    ImageDraw.Draw(picture).ellipse((9, 9, 30 + number, 50), outline="black", width=2)
    return encoded(picture)


def layout(photo_folder="photo/", sketch_folder="sketch/"):
    contents = {}
    for c, name in enumerate(CLASSES):
        for i in range(PHOTOS):
            stem = f"n0{c}-x_{i}" if i else "n01"  # one name in all classes, and names with dashes
            contents[f"{photo_folder}{name}/{stem}.jpg"] = photo(10 * c + i)
            for k in range(1, SKETCHES + 1):
                contents[f"{sketch_folder}{name}/{stem}-{k}.png"] = sketch(k)
    return contents


def official():
    """Two renderings of each domain; the second ones are larger."""
    contents = layout("256x256/photo/tx_000000000000/", "256x256/sketch/tx_000000000000/")
    for name in list(contents):
        other = name.replace("tx_000000000000", "tx_000100000000")
        contents[other] = sketch(1, size=80) if other.endswith(".png") else photo(200)
    return {**contents, "256x256/README.txt": b"hello"}


def build(source, data_dir, config="sketch", *, on_error="raise", **options):
    builder = Builder(
        config=config,
        data_dir=data_dir,
        source=source,
        options=Options(**options),
        on_error=on_error,
        processes=1,
    )
    prepare(builder)
    return builder


def both(source, data_dir, **options):
    for config in ("sketch", "photo"):
        build(source, data_dir, config, **options)
    return data_dir


def ids(data_dir, domain, split, field="source_id"):
    return {one[field] for one in open_records(data_dir, f"sketchy/{domain}", split)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sketchy")
    return both(write_tree(folder / "in", official()), folder / "out")


def test_a_photo_and_its_sketches_stay_together(prepared):
    assert list_datasets(prepared) == {
        "sketchy/photo": {"train": 15, "test": 3},
        "sketchy/sketch": {"train": 45, "test": 9},
    }
    for split in ("train", "test"):
        assert ids(prepared, "sketch", split, "photo_id") == ids(prepared, "photo", split)
    assert not ids(prepared, "photo", "train") & ids(prepared, "photo", "test")


def test_sketches_name_their_photo_and_labels_agree(prepared):
    for domain in ("sketch", "photo"):
        records = open_records(prepared, f"sketchy/{domain}", "train+test")
        assert records.class_names == CLASSES
        for one in records:
            assert one["class_name"] == CLASSES[one["label"]] == one["source_id"].split("/")[0]
            assert one["domain"] == domain
            assert one["image"].shape == (64, 64, 1 if domain == "sketch" else 3)
            if domain == "sketch":
                assert one["source_id"].rpartition("-")[0] == one["photo_id"]
                assert len(one["points"]) > 200


def test_photos_are_stored_as_they_are(prepared):
    for one in open_records(prepared, "sketchy/photo", "train"):
        name, stem = one["source_id"].split("/")
        data = official()[f"256x256/photo/tx_000000000000/{name}/{stem}.jpg"]
        np.testing.assert_array_equal(one["image"], np.asarray(Image.open(io.BytesIO(data))))


def test_a_subsets_layout_and_a_zip_give_the_same(tmp_path, prepared):
    both(write_tree(tmp_path / "in", layout()), tmp_path / "a")
    everything = layout("here/Photo/", "here/Sketch/")
    write_zip(tmp_path / "all.zip", dict(reversed(everything.items())))
    both(tmp_path / "all.zip", tmp_path / "b")
    for other in ("a", "b"):
        for domain in ("sketch", "photo"):
            for split in ("train", "test"):
                assert ids(tmp_path / other, domain, split) == ids(prepared, domain, split)
    # Computed once with the seed in the builder: another one would make results incomparable.
    assert sorted(ids(prepared, "photo", "test")) == PINNED


PINNED = ["airplane/n01", "car_(sedan)/n01-x_3", "jack-o-lantern/n02-x_1"]


def test_another_rendering_can_be_chosen(tmp_path):
    source = write_tree(tmp_path / "in", official())
    build(source, tmp_path / "out", sketch_variant="tx_000100000000")
    records = open_records(tmp_path / "out", "sketchy/sketch", "train")
    assert records[0]["image"].shape == (80, 80, 1)
    with pytest.raises(ValueError, match=r"rendering 'tx_1' .* only tx_000000000000, tx_000100000"):
        build(source, tmp_path / "new", sketch_variant="tx_1")


def test_the_cut_does_not_need_the_photos_themselves(tmp_path, prepared):
    contents = {name: data for name, data in layout().items() if name.startswith("sketch/")}
    source = write_tree(tmp_path / "in", contents)
    build(source, tmp_path / "out")
    assert ids(tmp_path / "out", "sketch", "test") == ids(prepared, "sketch", "test")
    with pytest.raises(DomainAbsent, match="no pictures in photo/CLASS/"):
        build(source, tmp_path / "out", "photo")


def test_every_class_has_sketches_for_testing_though_few_photos_have_any(tmp_path):
    contents = {
        name: data
        for name, data in layout().items()
        if name.startswith("photo/") or "x_2-" in name or "x_5-" in name
    }
    both(write_tree(tmp_path / "in", contents), tmp_path / "out")
    testing = ids(tmp_path / "out", "sketch", "test", "photo_id")
    assert len(testing) == len(CLASSES) == len({key.split("/")[0] for key in testing})
    assert testing < ids(tmp_path / "out", "photo", "test")
    assert ids(tmp_path / "out", "sketch", "train", "photo_id") < ids(
        tmp_path / "out", "photo", "train"
    )
    assert len(ids(tmp_path / "out", "photo", "test")) == 2 * len(CLASSES)


def test_all_may_be_for_training(tmp_path):
    both(write_tree(tmp_path / "in", layout()), tmp_path / "out", test_share=0.0)
    assert list_datasets(tmp_path / "out") == {
        "sketchy/photo": {"train": 18},
        "sketchy/sketch": {"train": 54},
    }


FAULTS = {
    "zero-byte": ("sketch/airplane/n01-9.png", b"", "empty file"),
    "cut short": ("sketch/airplane/n01-9.png", sketch(1)[:90], "cannot be read"),
    "no picture": ("sketch/airplane/n01-9.png", b"<html>", "not a picture"),
    "no number": ("sketch/airplane/n01.png", sketch(1), "must be called PHOTO-NUMBER"),
    "no photo": ("sketch/airplane/-3.png", sketch(1), "must be called PHOTO-NUMBER"),
    "same id": ("sketch/airplane/n01-1.jpg", sketch(1), "same id"),
    "no class": ("sketch/stray-1.png", sketch(1), "lies in no class folder"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_file_is_named_or_skipped(tmp_path, name):
    path, data, reason = FAULTS[name]
    source = write_tree(tmp_path / "in", {**layout(), path: data})
    with pytest.raises(BadFile, match=reason) as caught:
        build(source, tmp_path / "out")
    assert pathlib.Path(path).name in str(caught.value) and "\n" not in str(caught.value)
    assert not list_datasets(tmp_path / "out")
    if name == "no class":  # the layout is wrong, not one file
        return
    builder = build(source, tmp_path / "out", on_error="skip")
    assert len(builder.skipped) == 1
    assert len(open_records(tmp_path / "out", "sketchy/sketch", "train+test")) == 54


def test_a_folder_of_something_else_is_an_error(tmp_path):
    source = write_tree(tmp_path / "in", {"cats/1.png": sketch(1)})
    with pytest.raises(FileNotFoundError, match=r"no picture in photo/ or sketch/"):
        build(source, tmp_path / "out")


@pytest.mark.skipif(not DATA.is_dir(), reason="no Sketchy files in DSF_JAX_DEV_DATA")
def test_a_real_class_builds(tmp_path):
    for domain in ("photo", "sketch"):
        (tmp_path / "in" / domain).mkdir(parents=True)
        for name in ("airplane", "zebra"):
            target = tmp_path / "in" / domain / name
            target.mkdir()
            for path in (DATA / domain / name).iterdir():
                (target / path.name).write_bytes(path.read_bytes())
    both(tmp_path / "in", tmp_path / "out")
    assert list_datasets(tmp_path / "out")["sketchy/photo"] == {"train": 26, "test": 4}
    assert ids(tmp_path / "out", "sketch", "test", "photo_id") <= ids(
        tmp_path / "out", "photo", "test"
    )


INVALID = {
    "info/invalid-error.txt": b"\xef\xbb\xbfn01-1\r\n",  # of all classes
    "info/invalid-pose.txt": b"airplane/n00-x_1-2\nn00-x_1-2\nother-1\n",
}


@pytest.mark.parametrize("place", ["in it", "next to it"])
def test_sketches_that_the_authors_call_invalid_are_left_out_and_counted(place, tmp_path):
    files = {f"256x256/{name}": content for name, content in layout().items()} | INVALID
    root = write_tree(tmp_path / "s", files)
    source = root if place == "in it" else root / "256x256"
    builder = build(source, tmp_path / "valid")
    assert builder.skipped.counts == {
        "listed in invalid-error.txt": len(CLASSES),
        "listed in invalid-pose.txt": 1,
    }
    build(source, tmp_path / "all", keep_invalid=True)
    for split in ("train", "test"):
        valid, every = (
            {r["source_id"] for r in open_records(tmp_path / name, "sketchy/sketch", split)}
            for name in ("valid", "all")
        )
        omitted = {f"{name}/n01-1" for name in CLASSES} | {"airplane/n00-x_1-2"}
        assert valid == every - omitted  # the cut is the same
    photos = build(source, tmp_path / "valid", "photo")
    assert not photos.skipped
    (root / "info/invalid-error.txt").write_text("n01-2")
    with pytest.raises(ValueError, match="its files changed; give --overwrite"):
        build(source, tmp_path / "valid")
