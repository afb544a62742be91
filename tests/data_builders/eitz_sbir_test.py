"""The Eitz builder on sketches, images and ratings that these tests draw and write."""

import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from data_builders.eitz_sbir.eitz_sbir_dataset_builder import Builder, Options
from data_builders.eitz_sbir.ratings import Orientation, read_ratings
from data_builders.faults import BadFile
from data_builders.prepare import prepare
from data_builders.sources import source_files
from dsf_jax.data.records import open_records
from dsf_jax.images.points import points_from_image

# A third and its neighbour above tie in 32 bits, and not in 64.
THIRD = 1 / 3
RATINGS = {
    ("2", "a.jpg"): 5.5,
    ("2", "b.jpg"): THIRD,
    ("2", "c.png"): float(np.nextafter(THIRD, 1)),
    ("2", "d.jpg"): 5.5,
    ("10", "a.jpg"): 0.0,
    ("10", "b.jpg"): 7.0,
    ("ähnlich", "ö.jpg"): 1.0,
}


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def _image(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)
    return _encoded(Image.fromarray(noise), "JPEG")


def _sketch(x: int) -> bytes:
    picture = Image.new("L", (64, 64), 255)
    ImageDraw.Draw(picture).ellipse((x, 8, x + 30, 50), outline=0, width=2)
    return _encoded(picture, "PNG")


def _csv(ratings: Mapping[tuple[str, str], Any]) -> str:
    lines = [f"{sketch},{image},{value}" for (sketch, image), value in ratings.items()]
    return "\n".join(["sketch,image,rating", *lines, ""])


def _files(table: str | None = None) -> dict[str, bytes]:
    files = {"ratings.csv": (_csv(RATINGS) if table is None else table).encode()}
    for i, (sketch, image) in enumerate(RATINGS):
        files[f"sketches/{sketch}.png"] = _sketch(len(sketch))
        files[f"images/{sketch}/{image}"] = _image(i)
    return files


def _folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def _build(source: Path, data_dir: Path, config: str = "photo", **options: Any) -> Builder:
    builder = Builder(config=config, data_dir=data_dir, source=source, processes=1, **options)
    prepare(builder)
    return builder


def _ratings(builder: Builder) -> dict[tuple[str, str], float]:
    records = builder.as_data_source("test")
    keys = [tuple(record["source_id"].decode().split("/")) for record in records]
    return {(key[0], key[1]): float(one["rating"]) for key, one in zip(keys, records, strict=True)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _folder(tmp_path_factory.mktemp("source") / "eitz", _files())


def test_ratings_come_back_to_the_last_bit_with_their_ties(source: Path, tmp_path: Path) -> None:
    assert np.float32(THIRD) == np.float32(np.nextafter(THIRD, 1))
    builder = _build(source, tmp_path)
    assert not builder.skipped and list(builder.info.splits) == ["test"]
    assert _ratings(builder) == RATINGS
    assert builder.as_data_source("test")[0]["rating"].dtype == np.float64


def test_where_low_is_good_the_sign_turns(source: Path, tmp_path: Path) -> None:
    builder = _build(source, tmp_path, options=Options(orientation="low_is_good"))
    assert _ratings(builder) == {pair: -value for pair, value in RATINGS.items()}
    zero = _ratings(builder)["10", "a.jpg"]
    assert zero == 0.0 and not np.signbit(zero)
    with pytest.raises(ValueError, match="orientation='low_is_good', not 'high_is_good'"):
        _build(source, tmp_path)


def test_images_and_sketches_share_the_label_of_the_sketch(source: Path, tmp_path: Path) -> None:
    for config in ("photo", "sketch"):
        _build(source, tmp_path, config)
    photos, sketches = (
        open_records(tmp_path, f"eitz_sbir/{config}", "test") for config in ("photo", "sketch")
    )
    assert photos.class_names == sketches.class_names == ("2", "10", "ähnlich")
    assert {one["source_id"]: one["label"] for one in sketches} == {"2": 0, "10": 1, "ähnlich": 2}
    for one in photos:
        assert one["source_id"].split("/")[0] == photos.class_names[one["label"]]
    assert [photos.domain, sketches.domain] == ["photo", "sketch"]
    assert "rating" not in sketches[0]
    for one in sketches:
        np.testing.assert_array_equal(one["points"], points_from_image(one["image"][..., 0]))


def test_images_keep_their_pixels(source: Path, tmp_path: Path) -> None:
    for record in _build(source, tmp_path).as_data_source("test"):
        with Image.open(source / "images" / record["source_id"].decode()) as expected:
            np.testing.assert_array_equal(record["image"], np.asarray(expected))


def test_a_zip_with_a_folder_above_gives_the_same(source: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(
        str(tmp_path / "eitz"), "zip", root_dir=source.parent, base_dir="eitz"
    )
    assert _ratings(_build(Path(archive), tmp_path / "data")) == RATINGS


def test_a_spreadsheets_csv_is_read(tmp_path: Path) -> None:
    table = _csv(RATINGS).replace("\n", "\r\n").replace("sketch,image,", "Sketch, image ,", 1)
    table = table.replace("10,b.jpg,7.0", '"10","b.jpg", 7e0') + ",,\r\n\r\n"
    folder = _folder(tmp_path / "eitz", _files("\ufeff" + table))
    assert _ratings(_build(folder, tmp_path / "data")) == RATINGS


def _with_line(line: str) -> dict[str, bytes]:
    return _files(_csv(RATINGS) + line + "\n")


def _replaced(old: str, new: str) -> dict[str, bytes]:
    return _files(_csv(RATINGS).replace(old, new))


# reason: (files, what the message names, whether a photo is lost)
FAULTS = {
    "has no rating": (_replaced("2,a.jpg,5.5\n", ""), "images/2/a.jpg", True),
    "rates an image that does not exist": (_with_line("2,z.jpg,1"), "ratings.csv line 9", False),
    "rates a pair again": (_with_line("2,a.jpg,5.5"), "ratings.csv line 9", False),
    "has not 3 columns": (_with_line("2,z.jpg"), "ratings.csv line 9", False),
    "its rating is not a number": (_replaced("a.jpg,5.5", "a.jpg,good"), "'good'", True),
    "its folder is named after no file in sketches": (
        {**_files(), "images/3/a.jpg": _image(1)},
        "images/3/a.jpg",
        False,
    ),
    "no rated image for this sketch": (
        {**_files(), "sketches/3.png": _sketch(9)},
        "sketches/3.png",
        False,
    ),
    "cannot be read as a picture": (
        {**_files(), "images/2/a.jpg": _image(0)[:500]},
        "images/2/a.jpg",
        True,
    ),
    "empty file": ({**_files(), "images/2/a.jpg": b""}, "images/2/a.jpg", True),
    "is not a picture": ({**_files(), "images/2/a.jpg": b"ratings"}, "images/2/a.jpg", True),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_fault_stops_the_build_or_is_counted(tmp_path: Path, reason: str) -> None:
    files, named, lost = FAULTS[reason]
    folder = _folder(tmp_path / "eitz", files)
    with pytest.raises(BadFile, match=reason) as caught:
        _build(folder, tmp_path / "data")
    assert named in str(caught.value) and "\n" not in str(caught.value)
    assert not list((tmp_path / "data").rglob("*.array_record*"))

    builder = _build(folder, tmp_path / "data", on_error="skip")
    assert len(builder.skipped) == 1 and reason in str(builder.skipped)
    expected = {
        pair: value for pair, value in RATINGS.items() if pair != ("2", "a.jpg") or not lost
    }
    assert _ratings(builder) == expected


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-Infinity", "1_0", "1,5", "0x10", "5 5"])
def test_what_is_no_number_is_an_error(tmp_path: Path, text: str) -> None:
    folder = _folder(tmp_path, _replaced("a.jpg,5.5", f'a.jpg,"{text}"'))
    with pytest.raises(BadFile, match=r"ratings\.csv line 2: its rating is not a number"):
        _build(folder, tmp_path / "data")


def test_a_sketch_without_images_is_left_out_of_the_sketches_too(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "eitz", {**_files(), "sketches/3.png": _sketch(9)})
    builder = _build(folder, tmp_path / "data", "sketch", on_error="skip")
    ids = {record["source_id"].decode() for record in builder.as_data_source("test")}
    assert ids == {"2", "10", "ähnlich"}


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"sketches/2.jpg": _image(0)}, "has the same id '2' as"),
        ({"sketches/2.png": _encoded(Image.new("L", (9, 9), 255), "PNG")}, "nothing is drawn"),
        ({"sketches/2.png": b"\x89PNG\r\n\x1a\n"}, "picture"),
    ],
)
def test_a_broken_sketch_is_named(tmp_path: Path, extra: dict[str, bytes], reason: str) -> None:
    folder = _folder(tmp_path / "eitz", {**_files(), **extra})
    with pytest.raises(BadFile, match=reason) as caught:
        _build(folder, tmp_path / "data", "sketch")
    assert "sketches/2." in str(caught.value)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (b"", "its first line is ''"),
        (b"1,a.jpg,2\n", "its first line is '1,a.jpg,2'"),
        (b"sketch;image;rating\n", "not 'sketch,image,rating'"),
        (b"sketch,image,rating\n1,\xe4.jpg,2\n", "not UTF-8"),
        (b'sketch,image,rating\n1,"a.jpg,2\n', "line 2: not CSV"),
        (b"sketch,image,rating\n1," + b"a" * 200_000, "line 2: not CSV"),
    ],
)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_what_is_no_table_stops_any_build(
    tmp_path: Path, table: bytes, reason: str, on_error: str
) -> None:
    folder = _folder(tmp_path, {**_files(), "ratings.csv": table})
    with pytest.raises(BadFile, match=reason) as caught:
        _build(folder, tmp_path / "data", on_error=on_error)
    assert "ratings.csv" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["sketches/", "images/", "ratings.csv"])
def test_a_missing_part_is_an_error(tmp_path: Path, part: str) -> None:
    files = {name: data for name, data in _files().items() if not name.startswith(part)}
    with pytest.raises(FileNotFoundError, match=part.rstrip("/")):
        _build(_folder(tmp_path, files), tmp_path / "data")


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40))
def test_any_ratings_survive_the_file_and_keep_order_and_ties(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    pairs = {("1", f"{i}.jpg"): value for i, value in enumerate(values)}
    folder = _folder(tmp_path_factory.mktemp("csv"), {"ratings.csv": _csv(pairs).encode()})
    (file,) = source_files(folder, suffixes=(".csv",))

    def fail(fault: BadFile) -> None:
        raise fault

    high, low = (
        np.array([one.value for one in read_ratings(file, orientation, fail).values()], float)
        for orientation in get_args(Orientation)
    )
    np.testing.assert_array_equal(high, values)
    np.testing.assert_array_equal(
        np.sign(np.subtract.outer(low, low)), -np.sign(np.subtract.outer(high, high))
    )
