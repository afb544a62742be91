"""launch.search: a ranked list, or the picture that stands in its way."""

import os
import re
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytestmark = pytest.mark.slow

COLOURS = {"red.png": "#d22", "blue.jpg": "#22d", "grün/weiß nicht.png": "#2d2", "ring.webp": None}


def drawing(size=200):
    """Black on white, an outlined house."""
    image = Image.new("L", (size, size), 255)
    outline = [(0.2, 0.9), (0.2, 0.4), (0.5, 0.1), (0.8, 0.4), (0.8, 0.9), (0.2, 0.9)]
    ImageDraw.Draw(image).line([(x * size, y * size) for x, y in outline], fill=0, width=4)
    return image


@pytest.fixture(scope="module")
def sketch(tmp_path_factory):
    path = tmp_path_factory.mktemp("sketch") / "house.png"
    drawing().save(path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four pictures, one of them in a sub-folder with a name beyond ASCII, and what is no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, (name, colour) in enumerate(COLOURS.items()):
        image = Image.new("RGB", (160 + 20 * i, 120), "white")
        box = (20, 20, 80 + 20 * i, 100)
        ImageDraw.Draw(image).ellipse(box, fill=colour, outline="black", width=6)
        (folder / name).parent.mkdir(exist_ok=True)
        image.save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def given(run, sketch, photos):
    return {"checkpoint": run[1], "sketch": sketch, "photos": photos}


def ranking(told):
    rows = [re.fullmatch(r" *(\d+)  (\d\.\d{4})  (.+)", line) for line in told.splitlines()]
    return [(int(row[1]), float(row[2]), row[3]) for row in rows]


def test_a_ranking(launch, given, photos, tmp_path):
    figure = tmp_path / "ranking.png"
    told = ranking(launch("search", top=99, figure=figure, **given).succeeded())
    assert [rank for rank, _, _ in told] == [1, 2, 3, 4]  # all there are
    assert {path for _, _, path in told} == {str(photos / name) for name in COLOURS}
    distances = [distance for _, distance, _ in told]
    assert distances == sorted(distances) and distances[0] > 0 and distances[-1] < 2**0.5
    with Image.open(figure) as image:
        image.load()
        assert image.format == "PNG"
    shorter = ranking(launch("search", top=2, **given).succeeded())
    assert shorter == told[:2]


def test_a_result_is_a_line_whatever_its_name(launch, given, photos, tmp_path):
    (tmp_path / "odd").mkdir()
    names = {b"two\nlines.png": r"two\nlines.png", b"latin\xfc.png": r"latin\xfc.png"}
    for name in names:
        shutil.copy(photos / "red.png", os.fsencode(tmp_path / "odd") + b"/" + name)
    flags = given | {"photos": tmp_path / "odd", "duplicates": "separate"}
    told = ranking(launch("search", **flags).succeeded())
    assert {path for *_, path in told} == {f"{tmp_path}/odd/{name}" for name in names.values()}


def test_a_drawing_with_its_mirror_image(launch, given):
    plain, mirrored = (
        ranking(launch("search", **given, **more).succeeded())
        for more in ({}, {"query_views": "mirrored"})
    )
    assert sorted(path for *_, path in plain) == sorted(path for *_, path in mirrored)
    assert {x for _, x, _ in plain} != {x for _, x, _ in mirrored}
    launch("search", query_views="two", **given).failed("one|mirrored|all", status=2)


def test_the_same_picture_is_nearest(launch, given, port, photos, tmp_path):
    """Drawn and painted alike, the drawing itself has the least distance, to eyes that see: photos'."""
    folder = shutil.copytree(photos, tmp_path / "pictures")
    shutil.copy(given["sketch"], folder / "itself.png")
    given |= {"photos": folder, "checkpoint": port[1]}
    told = ranking(launch("search", layer="L6", **given).succeeded())
    assert told[0][2] == str(folder / "itself.png")


def test_near_duplicates_are_one_line_and_nothing_near_is_said(launch, given, tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "pictures"
    folder.mkdir()
    for number in range(6):
        picture = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize((150, 150))
        picture.save(folder / f"{number}.png")
        picture.resize((99, 99)).save(folder / f"{number}.jpg")
    flags = {"checkpoint": given["checkpoint"], "sketch": given["sketch"], "top": 5}
    launch("index", photos=folder, gallery=tmp_path / "g", checkpoint=given["checkpoint"])
    for places in ({"photos": folder}, {"gallery": tmp_path / "g"}):
        result = launch("search", **flags, **places)
        lines = result.succeeded().splitlines()
        assert len(lines) == 5 and all("  (and 1 near-duplicate)" in line for line in lines)
        assert len({line.split("pictures/")[1][0] for line in lines}) == 5
        assert result.notes[-1].startswith("nothing near here")
        more = launch("search", "--nowarn_far", duplicates="separate", **flags, **places)
        assert len(ranking(more.succeeded())) == 5 and "(and" not in more.out
        assert not any("nothing near" in note for note in more.notes)


def png(width, height, data):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.fixture(scope="module")
def broken(photos):
    """File names and contents that cannot be read as a picture."""
    return {
        "empty.png": b"",
        "text.png": b"Dear diary, today I drew a house.",
        "truncated.jpg": (photos / "blue.jpg").read_bytes()[:800],
        "truncated.png": (photos / "red.png").read_bytes()[:250],
        "bomb.png": png(60_000, 60_000, bytes(100_000)),
    }


BROKEN = ["empty.png", "text.png", "truncated.jpg", "truncated.png", "bomb.png"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_drawing_that_cannot_be_read(name, launch, given, broken, tmp_path):
    (tmp_path / name).write_bytes(broken[name])
    launch("search", **(given | {"sketch": tmp_path / name})).failed(tmp_path / name)


@pytest.mark.parametrize("name", ["text.png", "truncated.jpg", "bomb.png"])
def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_ranked(
    name, launch, given, broken, photos, tmp_path
):
    folder = shutil.copytree(photos, tmp_path / "pictures")
    (folder / name).write_bytes(broken[name])
    (folder / "IMG_1.HEIC").write_bytes(b"x")
    result = launch("search", figure=tmp_path / "ranking.png", **(given | {"photos": folder}))
    assert result.status == 0 and (tmp_path / "ranking.png").exists()
    assert {path for *_, path in ranking(result.out)} == {str(folder / name) for name in COLOURS}
    missed, failed = result.lines
    assert missed.startswith("passed over 1 .heic: IMG_1.HEIC; ")
    assert failed.startswith(f"{folder / name} ") and "; " in failed


def test_where_no_picture_can_be_read_nothing_is_ranked(launch, given, broken, tmp_path):
    (tmp_path / "pictures").mkdir()
    for name in ("text.png", "empty.png"):
        (tmp_path / "pictures" / name).write_bytes(broken[name])
    result = launch("search", **(given | {"photos": tmp_path / "pictures"}))
    result.failed("none of 2 pictures can be read", tmp_path / "pictures/empty.png")
    assert result.out == ""


def test_a_blank_drawing(launch, given, tmp_path):
    Image.new("RGB", (80, 80), "white").save(tmp_path / "blank.png")
    result = launch("search", **(given | {"sketch": tmp_path / "blank.png"}))
    result.failed(tmp_path / "blank.png", "no strokes", "use a darker pen")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sketch": "/nowhere.png"}, ("/nowhere.png is not a file",)),
        ({"photos": "/nowhere"}, ("/nowhere is not a folder",)),
        ({"checkpoint": "/nowhere"}, ("/nowhere does not exist", "launch.train")),
        ({"figure": "/nowhere/ranking.png"}, ("/nowhere is not a folder", "make it")),
    ],
)
def test_what_is_missing_is_named(changes, words, launch, given):
    launch("search", **(given | changes)).failed(*words)


def test_a_folder_without_pictures(launch, given, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    launch("search", **(given | {"photos": tmp_path})).failed(tmp_path, "holds no picture", ".png")


def test_a_figure_is_never_overwritten(launch, given, tmp_path):
    figure = tmp_path / "ranking.png"
    figure.write_text("mine")
    launch("search", figure=figure, **given).failed(figure, "exists", "choose another")
    assert figure.read_text() == "mine"
