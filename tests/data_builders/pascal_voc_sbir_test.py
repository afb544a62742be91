"""The VOC builder on photos, annotations and queries that these tests draw and write."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from data_builders.builder import DomainAbsent
from data_builders.faults import BadFile
from data_builders.pascal_voc_sbir import annotations
from data_builders.pascal_voc_sbir.annotations import VocObject, main_object, read_objects
from data_builders.pascal_voc_sbir.pascal_voc_sbir_dataset_builder import Builder, Options
from data_builders.prepare import prepare
from dsf_jax.data.records import open_records
from dsf_jax.images.points import points_from_image

Listed = tuple[str, int, tuple[int, int, int, int]]
CAR: Listed = ("car", 0, (5, 6, 20, 21))
BIG_BUT_HARD: Listed = ("bicycle", 1, (1, 1, 40, 30))
PERSON: Listed = ("person", 0, (1, 2, 30, 29))
PHOTOS: dict[str, Sequence[Listed]] = {
    "000001": [CAR, PERSON],
    "000002": [CAR, BIG_BUT_HARD],
    "000003": [BIG_BUT_HARD],
    "000004": [("dog", 0, (1, 1, 4, 4)), ("cat", 0, (5, 5, 8, 8))],
}
LISTS = {
    "train": "000001\n",
    "val": "000002 \n\n",
    "trainval": "000001\n000002\n",
    "car_train": "000001  1\n",
    "test": "000003\n000004",
}


def _annotation(objects: Sequence[Listed]) -> str:
    listed = "".join(
        f"""<object><name>{name}</name><pose>Left</pose><truncated>1</truncated>
        <difficult>{difficult}</difficult><part><name>head</name><bndbox><xmin>900</xmin>
        <ymin>1</ymin><xmax>1</xmax><ymax>1</ymax></bndbox></part><bndbox><xmin>{box[0]}</xmin>
        <ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"""
        for name, difficult, box in objects
    )
    return f"<annotation><folder>VOC2007</folder>{listed}</annotation>"


def _jpeg(seed: int, mode: str = "RGB") -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, "JPEG")
    return buffer.getvalue()


def _query(x: int) -> bytes:
    picture = Image.new("L", (60, 60), 255)
    ImageDraw.Draw(picture).rectangle((x, 10, x + 20, 40), outline=0, width=2)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _voc(
    photos: Mapping[str, Sequence[Listed]] = PHOTOS, lists: Mapping[str, str] = LISTS
) -> dict[str, bytes]:
    """All files of VOC2007, by their paths in its archives."""
    root = "VOCdevkit/VOC2007"
    files = {f"{root}/SegmentationClass/000001.png": b"not read"}
    for number, objects in photos.items():
        files[f"{root}/JPEGImages/{number}.jpg"] = _jpeg(int(number))
        files[f"{root}/Annotations/{number}.xml"] = _annotation(objects).encode()
    for name, text in lists.items():
        files[f"{root}/ImageSets/Main/{name}.txt"] = text.encode()
    files[f"{root}/ImageSets/Layout/train.txt"] = b"000099 1\n"
    return files


def _queries() -> dict[str, bytes]:
    return {f"queries/{name}/{i}.png": _query(5 * i) for name in ("car", "bicycle") for i in (1, 2)}


def _folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def _tar(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def _build(source: Path, data_dir: Path, config: str = "photo", **options: Any) -> Builder:
    builder = Builder(config=config, data_dir=data_dir, source=source, processes=1, **options)
    prepare(builder)
    return builder


def _ids(builder: Builder, split: str) -> set[str]:
    return {record["source_id"].decode() for record in builder.as_data_source(split)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both archives and the queries, as somebody would have downloaded them."""
    folder = _folder(tmp_path_factory.mktemp("voc"), _queries())
    first = {name: PHOTOS[name] for name in ("000001", "000002")}
    second = {name: PHOTOS[name] for name in ("000003", "000004")}
    lists = {name: text for name, text in LISTS.items() if name != "test"}
    _tar(folder / "VOCtrainval_06-Nov-2007.tar", _voc(first, lists))
    _tar(folder / "VOCtest_06-Nov-2007.tar", _voc(second, {"test": LISTS["test"]}))
    return folder


@pytest.fixture(scope="module")
def photos(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return _build(source, tmp_path_factory.mktemp("prepared"))


def test_the_splits_are_vocs_own_lists(photos: Builder) -> None:
    assert not photos.skipped
    expected = {"train": {"000001"}, "val": {"000002"}, "test": {"000003", "000004"}}
    assert {split: _ids(photos, split) for split in photos.info.splits} == expected


def test_a_photo_keeps_its_bytes_and_all_its_objects(photos: Builder) -> None:
    found = {}
    for record in photos.as_data_source("train+val+test"):
        number = record["source_id"].decode()
        expected = Image.open(io.BytesIO(_jpeg(int(number))))
        np.testing.assert_array_equal(record["image"], np.asarray(expected))
        assert record["object_boxes"].dtype == np.float32
        found[number] = [
            (photos.info.features["label"].names[label], int(difficult), tuple(box.astype(int)))
            for label, difficult, box in zip(
                record["object_labels"],
                record["object_difficult"],
                record["object_boxes"],
                strict=True,
            )
        ]
    assert found == {number: list(objects) for number, objects in PHOTOS.items()}


def test_the_label_is_that_of_the_largest_object_that_is_not_difficult(photos: Builder) -> None:
    records = open_records(
        Path(photos.data_dir).parents[2], "pascal_voc_sbir/photo", "train+val+test"
    )
    names = {record["source_id"]: record["class_name"] for record in records}
    assert names == {"000001": "person", "000002": "car", "000003": "bicycle", "000004": "dog"}
    assert all(records.class_names[one["label"]] == one["class_name"] for one in records)
    assert records.domain == "photo"


def test_labels_do_not_depend_on_what_is_there(
    photos: Builder, source: Path, tmp_path: Path
) -> None:
    queries = _build(source, tmp_path, "sketch")
    for builder in (photos, queries):
        assert tuple(builder.info.features["label"].names) == annotations.CLASSES
    assert len(annotations.CLASSES) == 20 and sorted(annotations.CLASSES) == [*annotations.CLASSES]


def test_queries_hold_their_points(source: Path, tmp_path: Path) -> None:
    queries = _build(source, tmp_path, "sketch")
    assert list(queries.info.splits) == ["test"]
    assert _ids(queries, "test") == {"car/1.png", "car/2.png", "bicycle/1.png", "bicycle/2.png"}
    for record in queries.as_data_source("test"):
        assert record["class_name"].decode() == record["source_id"].decode().split("/")[0]
        np.testing.assert_array_equal(
            record["points"], points_from_image(record["image"][..., 0], thinned=True)
        )
    thick = _build(source, tmp_path / "thick", "sketch", options=Options(thinned=False))
    assert min(len(one["points"]) for one in thick.as_data_source("test")) > 400


@pytest.mark.parametrize("root", ["", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_unpacked_folders_give_the_same_records(photos: Builder, tmp_path: Path, root: str) -> None:
    other_year = {"VOCdevkit/VOC2012/JPEGImages/2012_000001.jpg": _jpeg(9)}
    folder = _folder(tmp_path / "voc", {**_voc(), **other_year})
    builder = _build(folder / root, tmp_path / "data")
    assert not builder.skipped
    for split in photos.info.splits:
        assert _ids(builder, split) == _ids(photos, split)


def test_one_archive_alone_and_trainval_alone(source: Path, tmp_path: Path) -> None:
    half = _build(source / "VOCtest_06-Nov-2007.tar", tmp_path)
    assert list(half.info.splits) == ["test"]
    lists = {"trainval": "000001\n000004\n"}
    both = _build(_folder(tmp_path / "voc", _voc(lists=lists)), tmp_path / "data")
    assert _ids(both, "trainval") == {"000001", "000004"}
    assert both.skipped.counts == {"in no list of ImageSets/Main": 2}


def test_a_source_may_lack_either_part(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DomainAbsent, match="queries/CLASS"):
        _build(source / "VOCtest_06-Nov-2007.tar", tmp_path, "sketch")
    sketches = _folder(tmp_path / "own", _queries())
    assert len(_build(sketches, tmp_path, "sketch").as_data_source("test")) == 4
    with pytest.raises(DomainAbsent, match="no photos in JPEGImages"):
        _build(sketches, tmp_path)
    archives = _tar(tmp_path / "tars" / "VOCtest_06-Nov-2007.tar", _voc()).parent
    with pytest.raises(DomainAbsent):
        _build(archives, tmp_path / "other", "sketch")


def test_a_query_of_an_unknown_class_is_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path, {"queries/cars/1.png": _query(9)})
    with pytest.raises(ValueError, match=r"queries/cars is named after no class .* aeroplane, bic"):
        _build(folder, tmp_path / "data", "sketch")


BOMB = '<!DOCTYPE a [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]>' + _annotation([CAR])
LEAK = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/hostname">]>' + _annotation([CAR])
BROKEN_ANNOTATIONS = [
    (b"", "empty file"),
    (_annotation([CAR])[:-30].encode(), "not a whole XML file"),
    (b"\xff\xd8\xff", "not a whole XML file"),
    (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "not a whole XML file"),
    (BOMB.replace("car", "&b;", 1).encode(), "document type"),
    (BOMB.encode("utf-16"), "document type"),
    (LEAK.replace("car", "&a;", 1).encode(), "document type"),
    (_annotation([("&car;", 0, CAR[2])]).encode(), "not a whole XML file"),
    (b"<html><object/></html>", "root is not <annotation>"),
    (_annotation([]).encode(), "lists no object"),
    (_annotation([("spaceship", 0, CAR[2])]).encode(), "class 'spaceship'"),
    (_annotation([("car", 7, CAR[2])]).encode(), "<difficult> is '7'"),
    (_annotation([("car", 0, (9, 9, 8, 9))]).encode(), "ends before it begins"),
    (_annotation([CAR]).replace("<xmin>5<", "<xmin>nan<").encode(), "ends before it begins"),
    (_annotation([CAR]).replace("<ymax>21</ymax>", "").encode(), "lacks a side"),
    (b"<annotation>" + b" " * annotations.MAX_BYTES, "larger than"),
    (b"<a>" * 80_000, "not a whole XML file"),
]


@pytest.mark.parametrize(("data", "reason"), BROKEN_ANNOTATIONS)
def test_a_broken_annotation_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(BadFile, match=reason) as caught:
        read_objects(data, "voc.tar: 000001.xml")
    assert str(caught.value).startswith("voc.tar: 000001.xml: ")
    assert "\n" not in str(caught.value)


def test_an_annotation_may_leave_difficult_out_and_be_in_any_encoding() -> None:
    text = _annotation([BIG_BUT_HARD]).replace("<difficult>1</difficult>", "")
    for encoding in ("utf-8", "utf-16"):
        (one,) = read_objects(text.encode(encoding), "x.xml")
        assert one == VocObject("bicycle", False, (1, 1, 40, 30))


@given(
    st.lists(
        st.builds(
            lambda name, hard, x, y, w, h: VocObject(name, hard, (x, y, x + w, y + h)),
            st.sampled_from(annotations.CLASSES),
            st.booleans(),
            *[st.integers(1, 500)] * 2,
            *[st.integers(0, 500)] * 2,
        ),
        min_size=1,
    )
)
def test_no_easy_object_is_larger_than_the_main_one(objects: list[VocObject]) -> None:
    main = main_object(objects)
    assert not main.difficult or all(one.difficult for one in objects)
    assert all(one.area <= main.area for one in objects if one.difficult == main.difficult)
    listed: list[Any] = [(one.class_name, int(one.difficult), one.box) for one in objects]
    assert read_objects(_annotation(listed).encode(), "x.xml") == tuple(objects)


def _without(part: str) -> dict[str, bytes]:
    return {name: data for name, data in _voc().items() if part not in name}


FAULTS = {
    "lists a photo that is not in JPEGImages": (_without("000002.jpg"), "val.txt line 1"),
    "has no file in Annotations": (_without("000002.xml"), "000002.jpg"),
    "lists a photo again": (
        _voc(lists={**LISTS, "test": "000003\n000004\n000001"}),
        "test.txt line 3",
    ),
    "same id as another file": (
        {**_voc(), "VOCdevkit/VOC2007/JPEGImages/000002.jpeg": _jpeg(2)},
        "JPEGImages/000002.jp",
    ),
    "empty file": ({**_voc(), "VOCdevkit/VOC2007/JPEGImages/000003.jpg": b""}, "000003.jpg"),
    "cannot be read as a picture": (
        {**_voc(), "VOCdevkit/VOC2007/JPEGImages/000004.jpg": _jpeg(4)[:600]},
        "000004.jpg",
    ),
    "not a whole XML file": (
        {**_voc(), "VOCdevkit/VOC2007/Annotations/000004.xml": b"<annotation>"},
        "000004.xml",
    ),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_fault_stops_the_build_or_is_counted(tmp_path: Path, reason: str) -> None:
    files, named = FAULTS[reason]
    folder = _folder(tmp_path / "voc", files)
    with pytest.raises(BadFile, match=reason) as caught:
        _build(folder, tmp_path / "data")
    assert named in str(caught.value) and "\n" not in str(caught.value)
    assert not list((tmp_path / "data").rglob("*.array_record*"))

    builder = _build(folder, tmp_path / "data", on_error="skip")
    assert len(builder.skipped) == 1 and reason in str(builder.skipped)
    left = {split: _ids(builder, split) for split in builder.info.splits}
    lost = {"lists a photo again": 0, "same id as another file": 0}.get(reason, 1)
    assert sum(map(len, left.values())) == len(PHOTOS) - lost


def test_a_grey_photo_becomes_rgb(tmp_path: Path) -> None:
    grey = {"VOCdevkit/VOC2007/JPEGImages/000001.jpg": _jpeg(1, "L")}
    builder = _build(_folder(tmp_path / "voc", {**_voc(), **grey}), tmp_path / "data")
    (record,) = builder.as_data_source("train")
    assert record["image"].shape == (30, 40, 3)


def test_lists_are_needed_and_must_be_text(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none of train\.txt, val\.txt"):
        _build(_folder(tmp_path / "a", _without("ImageSets")), tmp_path / "data")
    binary = {"VOCdevkit/VOC2007/ImageSets/Main/test.txt": b"caf\xe9\n"}
    with pytest.raises(BadFile, match=r"test\.txt: not UTF-8 text, .* save it as UTF-8"):
        _build(_folder(tmp_path / "b", {**_voc(), **binary}), tmp_path / "data")


def test_an_archive_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "VOCtest_06-Nov-2007.tar", {**_voc(), "../../evil.txt": b"x"})
    with pytest.raises(ValueError, match=r"\.\./\.\./evil\.txt"):
        _build(archive, tmp_path / "data")
